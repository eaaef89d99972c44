import { createServer } from 'node:http';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { startMockImds } from '../../src/mock/server.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { ask } from './support.ts';

const EVENTS = '/metadata/scheduledevents?api-version=2020-07-01';
const COMPUTE = '/metadata/instance/compute';
const TOKEN = '/metadata/identity/oauth2/token?api-version=2018-02-01';

test.each([
  ['without the Metadata header', EVENTS, { metadata: false }, 400],
  ['with another value in it', EVENTS, { metadata: false, headers: { Metadata: 'yes' } }, 400],
  ['that was forwarded', EVENTS, { headers: { 'X-Forwarded-For': '10.0.0.1' } }, 400],
  ['with a query parameter twice', `${EVENTS}&API-version=2020-07-01`, {}, 400],
  ['without a version', '/metadata/scheduledevents', {}, 400],
  ['with a version that is no date', '/metadata/scheduledevents?api-version=latest', {}, 400],
  ['with a version that is not offered', '/metadata/scheduledevents?api-version=2031-01-01', {}, 404],
  [
    "with the instance endpoint's newest version",
    '/metadata/scheduledevents?api-version=2025-04-07',
    {},
    404,
  ],
  ['with another verb', EVENTS, { method: 'DELETE' }, 405],
  ['for the instance with another verb', `${COMPUTE}?api-version=2021-02-01`, { method: 'POST' }, 405],
  ['for an unknown path', '/metadata/nothing?api-version=2020-07-01', {}, 404],
  ['for a path below the events', '/metadata/scheduledevents/x?api-version=2020-07-01', {}, 404],
  ['for the instance without a version', COMPUTE, {}, 400],
  ['for a leaf without format=text', `${COMPUTE}/name?api-version=2021-02-01`, {}, 400],
  ['for a leaf that does not exist', `${COMPUTE}/nothing?api-version=2021-02-01&format=text`, {}, 404],
  ['for a leaf of a later version', `${COMPUTE}/priority?api-version=2019-06-04&format=text`, {}, 404],
  ['for a token without a resource', TOKEN, {}, 400],
  ['for a token of an unknown version', TOKEN.replace('2018', '2010'), {}, 400],
])('refuses a request %s', async (_name, path, options, status) => {
  await using mock = await startTestImds();
  const answer = await ask(mock.url, path, options);
  expect(answer.status).toBe(status);
  expect(JSON.parse(answer.text)).toHaveProperty('error');
});

test('names its newest versions when the instance is asked for with an unknown one', async () => {
  await using mock = await startTestImds();
  const { status, text } = await ask(mock.url, `${COMPUTE}?api-version=2016-01-01`);
  expect(status).toBe(400);
  expect(JSON.parse(text)).toMatchObject({ 'newest-versions': ['2025-04-07', '2023-07-01', '2021-12-13'] });
});

test.each([
  ['nothing', ''],
  ['no JSON', 'StartRequests=1'],
  ['no requests', '{"StartRequests":[]}'],
  ['a request without an id', '{"StartRequests":[{}]}'],
  ['a list', '[]'],
  ['an id that was never announced', '{"StartRequests":[{"EventId":"7C4F"}]}'],
])('refuses an acknowledgement of %s', async (_name, body) => {
  await using mock = await startTestImds();
  expect((await ask(mock.url, EVENTS, { method: 'POST', body })).status).toBe(400);
  expect(mock.acks().filter(({ known }) => known)).toEqual([]);
});

test('lets five requests through in a second, whoever sends them, and answers the sixth with 429', async () => {
  let now = 1e6;
  await using mock = await startTestImds(
    { service: { rateLimit: 5 } },
    { ...systemClock, monotonicMs: () => now },
  );
  const paths = [EVENTS, `${COMPUTE}?api-version=2021-02-01`];
  const statuses: number[] = [];
  for (let count = 0; count < 6; count++) {
    statuses.push((await ask(mock.url, paths[count % 2] ?? EVENTS)).status);
  }
  // They have a limit of their own.
  const token = await ask(mock.url, `${TOKEN}&resource=https://storage.azure.com`);
  expect(statuses).toEqual([200, 200, 200, 200, 200, 429]);
  expect(token.status).toBe(200);
  now += 1000;
  expect((await ask(mock.url, EVENTS)).status).toBe(200);
});

test('says why it cannot listen', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await expect(startMockImds({ host: '127.0.0.1', port }, { clock: systemClock })).rejects.toMatchObject({
    code: 'cannot-listen',
    message: `can't listen on 127.0.0.1:${port}: EADDRINUSE`,
  });
  await new Promise((resolve) => other.close(resolve));
});
