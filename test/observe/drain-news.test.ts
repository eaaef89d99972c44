import { describe, expect, it } from 'vitest';

import { type DrainNews, newsOf } from '../../src/observe/drain-news.ts';
import { webhookBody } from '../../src/observe/webhook.ts';
import { Life, SERVER_EPOCH, event, hook, policyWith } from '../core/support.ts';

const WALL = Date.UTC(2026, 3, 13, 10, 0, 1);

function failedDrain(): readonly DrainNews[] {
  const life = new Life(
    policyWith({
      hooks: [hook('stop')],
      sets: [
        { name: 'job', priority: 1 },
        { name: 'logs', priority: 2 },
      ],
    }),
  );
  life.document([event({ notBefore: SERVER_EPOCH + 20_000 })]);
  life.hookEnds('stop', false);
  life.setEnds('job');
  life.setEnds('logs', false, 1, false);
  return newsOf(life.state, WALL);
}

describe('what is told of a drain', () => {
  it('is the notice, and then the outcome with what was lost, each with an id that stays', () => {
    const [notice, outcome] = failedDrain();
    expect(notice).toMatchObject({ id: 'A1/notice/0', kind: 'notice', windowMs: 20_000 });
    expect(outcome).toMatchObject({
      id: 'A1/outcome/0',
      kind: 'outcome',
      outcome: 'failure',
      failures: ['hook stop: exit code 1', 'set logs: reset'],
      sets: [
        { name: 'job', checkpointId: '00000001' },
        { name: 'logs', checkpointId: undefined },
      ],
    });
    expect(failedDrain().map(({ id }) => id)).toEqual(['A1/notice/0', 'A1/outcome/0']);
  });

  it('is nothing without an event that drains', () => {
    const life = new Life();
    life.document([event({ type: 'Reboot' }), event({ id: 'B', resources: ['fleet_9'] })]);
    expect(newsOf(life.state, WALL)).toEqual([]);
  });

  it.each(['cloudevents', 'slack', 'teams'] as const)('has the shape of %s', (template) => {
    expect(failedDrain().map((news) => webhookBody(template, news))).toMatchSnapshot();
  });

  it('can not break out of a Slack message', () => {
    const [news] = failedDrain();
    if (news === undefined) throw new Error('no news');
    const evil = { ...news, failures: ['<!channel> & <http://evil|click>'] };
    expect(webhookBody('slack', evil)).toEqual({
      text: expect.stringContaining('&lt;!channel&gt; &amp; &lt;http://evil|click&gt;'),
    });
  });
});
