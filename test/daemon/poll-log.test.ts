import { describe, expect, it } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import type { LogLine } from '../support/log-lines.ts';
import { collectLines } from '../support/log-lines.ts';
import { createIdentityLog, createPollLog } from '../../src/daemon/poll-log.ts';
import { createLog } from '../../src/observe/log.ts';
import { manualClock } from '../imds/support.ts';

function rig() {
  const clock = manualClock();
  const collected = collectLines();
  const destination = {
    write(line: string, done: (written: boolean) => void) {
      collected.add(line);
      done(true);
    },
  };
  const log = createLog({ level: 'debug', journald: false, destination }, { clock });
  return { clock, lines: collected.lines, log };
}

const timeout = new EvictdError('imds-timeout', 'no whole answer within 3000 ms');
const throttled = new EvictdError('imds-throttled', 'status 429', { remedy: 'poll less often' });
const messages = (lines: readonly LogLine[]) => lines.map(({ msg, code }) => [msg, code].join(' ').trim());

describe('trouble with polls', () => {
  it('is said once for each kind, again after a minute, and when it is over', async () => {
    const { clock, lines, log } = rig();
    const polls = createPollLog(log, clock);
    for (let second = 0; second <= 60; second++) {
      polls.onFailure(second % 2 === 0 ? timeout : throttled);
      await clock.advance(1000);
    }
    polls.onGood([]);
    expect(messages(lines)).toEqual([
      'poll failed, continuing imds-timeout',
      'poll failed, continuing imds-throttled',
      'poll failed, continuing imds-timeout',
      'polls succeed again',
    ]);
    expect(lines[1]).toMatchObject({ level: 'warn', remedy: 'poll less often', failures: 2 });
    expect(lines[3]).toMatchObject({ failures: 61, lastCode: 'imds-timeout' });
  });

  it('does not fill the log when every second poll fails', async () => {
    const { clock, lines, log } = rig();
    const polls = createPollLog(log, clock);
    for (let second = 0; second < 50; second++) {
      polls.onFailure(timeout);
      expect(polls.lastError()).toBe(timeout);
      polls.onGood([]);
      expect(polls.lastError()).toBeUndefined();
      await clock.advance(1000);
    }
    expect(messages(lines)).toEqual(['poll failed, continuing imds-timeout', 'polls succeed again']);
  });

  it('names each way in which entries are broken once', () => {
    const { clock, lines, log } = rig();
    const polls = createPollLog(log, clock);
    for (let poll = 0; poll < 5; poll++) polls.onGood([{ index: 0, reason: 'EventId: expected string' }]);
    polls.onGood([{ index: 1, reason: 'Resources: expected array' }]);
    expect(lines.map(({ reason }) => reason)).toEqual([
      'EventId: expected string',
      'Resources: expected array',
    ]);
  });

  it('is told apart from trouble with the instance document', () => {
    const { clock, lines, log } = rig();
    const onFailure = createIdentityLog(log, clock);
    for (let attempt = 0; attempt < 5; attempt++) onFailure(timeout);
    expect(messages(lines)).toEqual(['instance document not read, asking again imds-timeout']);
  });
});
