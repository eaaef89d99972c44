import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { http, HttpResponse } from 'msw';
import { expect, test } from 'vitest';
import * as z from 'zod';

import { systemClock } from '../../src/base/clock.ts';
import { createUndiciHttpClient } from '../../src/checkpoint/store/azure/undici-http-client.ts';
import { type DrainNews, newsOf } from '../../src/observe/drain-news.ts';
import { createQueueTeller } from '../../src/observe/storage-queue.ts';
import { type WebhookTemplate, createWebhook } from '../../src/observe/webhook.ts';
import { Life, SERVER_EPOCH, event, hook, policyWith } from '../core/support.ts';
import { testFolder } from '../support/file-tree.ts';
import { mockNetwork } from '../support/msw-network.ts';

/*
 * What services take and answer that can't be had here. One test after the other: the answers are for all requests of
 * the process.
 */

const NEWS: DrainNews = {
  id: 'A1/outcome/0',
  kind: 'outcome',
  vmName: 'fleet_2',
  event: event(),
  at: Date.UTC(2026, 3, 13, 10, 0, 1),
  windowMs: 30_000,
  outcome: 'failure',
  failures: ['hook stop: exit code 1'],
  sets: [],
};

async function tell(template: WebhookTemplate, url: string, news = NEWS): Promise<void> {
  await using folder = await testFolder();
  const urlFile = join(folder.path, 'url');
  await writeFile(urlFile, `${url}\n`, { mode: 0o600 });
  // Pauses are for the services, which are none here.
  const clock = {
    ...systemClock,
    timer: (delayMs: number, fire: () => void) => systemClock.timer(delayMs === 5000 ? delayMs : 0, fire),
  };
  const webhook = createWebhook({ urlFile, template }, { clock, random: () => 0 });
  await webhook(news, AbortSignal.timeout(10_000));
}

const SLACK = 'https://hooks.slack.com/services/T0/B0/xyz';

/** Source: docs.slack.dev, "Sending messages using incoming webhooks", "Handling errors", and "Rate limits". */
function slack(...before: readonly (() => HttpResponse<string>)[]) {
  const posted: string[] = [];
  const refuse = (status: number, text: string) => HttpResponse.text(text, { status });
  const next = [...before];
  const handler = http.post(
    'https://hooks.slack.com/services/:team/:bot/:token',
    async ({ request, params }) => {
      const trouble = next.shift();
      if (trouble !== undefined) return trouble();
      if (params['token'] !== 'xyz') return refuse(403, 'invalid_token');
      if (request.headers.get('content-type')?.startsWith('application/json') !== true)
        return refuse(400, 'invalid_payload');
      const message = z.object({ text: z.string().min(1) }).safeParse(await request.json());
      if (!message.success) return refuse(400, 'no_text');
      posted.push(message.data.text);
      return HttpResponse.text('ok');
    },
  );
  return { handler, posted };
}

test('Slack takes a message, also after it has asked for patience', async () => {
  const busy = () => HttpResponse.text('', { status: 429, headers: { 'retry-after': '1' } });
  const { handler, posted } = slack(busy, () => HttpResponse.text('rollup_error', { status: 500 }));
  using _network = mockNetwork(handler);
  await tell('slack', SLACK);
  expect(posted).toEqual([expect.stringMatching(/^\*fleet_2: drain for Preempt ended with failure\*\n/)]);
});

test('what Slack refuses is not sent again, and the error names no token', async () => {
  const { handler, posted } = slack();
  using _network = mockNetwork(handler);
  const refused = tell('slack', SLACK.replace('xyz', 'gone'));
  await expect(refused).rejects.toMatchObject({ code: 'http-refused' });
  await expect(refused).rejects.toThrow(/answered 403$/);
  await expect(refused).rejects.not.toThrow('gone');
  expect(posted).toEqual([]);
});

/** What an adaptive card needs here, of what its schema demands. */
const TeamsMessage = z.object({
  type: z.literal('message'),
  attachments: z.tuple([
    z.object({
      contentType: z.literal('application/vnd.microsoft.card.adaptive'),
      content: z.object({
        $schema: z.literal('http://adaptivecards.io/schemas/adaptive-card.json'),
        type: z.literal('AdaptiveCard'),
        version: z.string().regex(/^1\.[0-5]$/),
        body: z.array(z.object({ type: z.literal('TextBlock'), text: z.string() })),
      }),
    }),
  ]),
});

const TEAMS = 'https://prod-01.westeurope.logic.azure.com:443/workflows/a/triggers/manual/paths/invoke';
/** Of a message to a channel. */
const TEAMS_BYTES_MAX = 28 * 1024;

/** Source: learn.microsoft.com, "Create incoming webhooks with Workflows for Microsoft Teams" and its limits. */
function teams() {
  const posted: z.infer<typeof TeamsMessage>[] = [];
  const handler = http.post(TEAMS.replace(':443', ''), async ({ request }) => {
    if (new URL(request.url).searchParams.get('sig') !== 's-i_g')
      return HttpResponse.json({ error: { code: 'DirectApiAuthorizationRequired' } }, { status: 401 });
    const text = await request.text();
    if (Buffer.byteLength(text) > TEAMS_BYTES_MAX) return new HttpResponse(null, { status: 413 });
    const message = TeamsMessage.safeParse(JSON.parse(text));
    if (!message.success) return HttpResponse.json({ error: { code: 'BadRequest' } }, { status: 400 });
    posted.push(message.data);
    return new HttpResponse(null, { status: 202 });
  });
  return { handler, posted };
}

test('Teams takes a card, by the address with all that its query holds', async () => {
  const { handler, posted } = teams();
  using _network = mockNetwork(handler);
  await tell('teams', `${TEAMS}?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=s-i_g`);
  const texts = posted.map(({ attachments: [{ content }] }) => content.body.map(({ text }) => text));
  expect(texts).toEqual([expect.arrayContaining(['hook stop: exit code 1'])]);
});

test('a drain in which all failed is not too long for Teams', async () => {
  const hooks = Array.from({ length: 300 }, (_, n) => hook(`number-${n}`));
  const sets = Array.from({ length: 100 }, (_, n) => ({ name: `set-${n}`, priority: 1 }));
  const life = new Life(policyWith({ hooks, sets }));
  life.document([event({ notBefore: SERVER_EPOCH + 20_000 })]);
  for (const { name } of hooks) life.hookEnds(name, false);
  for (const { name } of sets) life.setEnds(name, false, 1, false);
  const [, outcome] = newsOf(life.state, NEWS.at);
  expect(outcome?.failures?.at(-1)).toMatch(/^and \d+ more$/);
  const { handler, posted } = teams();
  using _network = mockNetwork(handler);
  await tell('teams', `${TEAMS}?sig=s-i_g`, outcome);
  expect(posted).toHaveLength(1);
});

const QUEUE = 'https://account.queue.core.windows.net/requeue';
const DATE = 'Mon, 19 Sep 2016 18:29:47 GMT';

function queueError(status: number, code: string) {
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>x</Message></Error>`;
  return HttpResponse.xml(body, { status, headers: { 'x-ms-error-code': code } });
}

/** Source: learn.microsoft.com, "Put Message". */
function queue(...troubles: readonly (readonly [status: number, code: string])[]) {
  const messages: string[] = [];
  const asked: Request[] = [];
  const next = [...troubles];
  const handler = http.post(`${QUEUE}/messages`, async ({ request }) => {
    asked.push(request.clone());
    const trouble = next.shift();
    if (trouble !== undefined) return queueError(...trouble);
    const text = /^<\?xml .*?\?><QueueMessage><MessageText>(.*)<\/MessageText><\/QueueMessage>$/s.exec(
      await request.text(),
    )?.[1];
    if (text === undefined) return queueError(400, 'InvalidXmlDocument');
    messages.push(text.replaceAll('&quot;', '"'));
    const [id, receipt] = ['0a1b', 'AgAAAAMAAAAAAAAA'];
    const times = ['InsertionTime', 'ExpirationTime', 'TimeNextVisible'];
    return HttpResponse.xml(
      `<?xml version="1.0" encoding="utf-8"?><QueueMessagesList><QueueMessage><MessageId>${id}</MessageId>` +
        `<PopReceipt>${receipt}</PopReceipt>${times.map((name) => `<${name}>${DATE}</${name}>`).join('')}` +
        '</QueueMessage></QueueMessagesList>',
      { status: 201, headers: { date: DATE, 'x-ms-request-id': '1' } },
    );
  });
  return { handler, messages, asked };
}

async function putIntoQueue(): Promise<void> {
  const httpClient = createUndiciHttpClient({ origin: new URL(QUEUE).origin, connectionsMax: 1 });
  const credential = { kind: 'signature', query: 'sv=2026-10-06&sp=a&sig=s%2Fecret' } as const;
  try {
    await createQueueTeller(QUEUE, credential, httpClient)(NEWS, AbortSignal.timeout(10_000));
  } finally {
    await httpClient.close();
  }
}

test('a queue takes a message signed by the address, also when it is busy first', async () => {
  const { handler, messages, asked } = queue([503, 'ServerBusy']);
  using _network = mockNetwork(handler);
  await putIntoQueue();
  expect(messages.map((text) => JSON.parse(text) as unknown)).toEqual([
    expect.objectContaining({ id: NEWS.id, type: 'evictd.outcome' }),
  ]);
  expect(asked).toHaveLength(2);
  expect(new URL(asked[1]?.url ?? '').searchParams.get('sig')).toBe('s/ecret');
});

test.each([
  [404, 'QueueNotFound', /az storage queue create/],
  [403, 'AuthorizationPermissionMismatch', /Storage Queue Data Message Sender/],
  [400, 'MessageTooLarge', /check the URL/],
])('a queue that answers %i %s is told with what to do, and without the signature', async (...row) => {
  const [status, code, remedy] = row;
  const { handler, asked } = queue([status, code]);
  using _network = mockNetwork(handler);
  const put = putIntoQueue();
  await expect(put).rejects.toMatchObject({
    code: 'queue-failed',
    message: `${QUEUE} took no message (${code})`,
    remedy: expect.stringMatching(remedy),
  });
  await expect(put).rejects.not.toThrow('ecret');
  expect(asked).toHaveLength(1);
});
