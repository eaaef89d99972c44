import { expect, test } from 'vitest';

import type { FaultInput } from '../../src/mock/schema.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { ask, askEvents, deadline } from './support.ts';

const EVENTS = '/metadata/scheduledevents?api-version=2020-07-01';

test('a fault hits its paths only, as often as it says', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'status', status: 410, on: 'token', count: 2 });
  mock.fault({ kind: 'status', status: 500, count: 1 });
  const token = '/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x';
  const statuses = [];
  for (const path of [EVENTS, EVENTS, token, token, token]) statuses.push((await ask(mock.url, path)).status);
  expect(statuses).toEqual([500, 200, 410, 410, 200]);
});

test('a fault ends with its time, or when all are cleared', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'status', status: 500, on: 'all', for: '1h' });
  mock.fault({ kind: 'status', status: 503, for: '1ms' });
  expect((await ask(mock.url, EVENTS)).status).toBe(500);
  expect(mock.state().faults).toHaveLength(1);
  mock.clearFaults();
  expect((await ask(mock.url, EVENTS)).status).toBe(200);
});

test.each<[string, FaultInput, (text: string) => void]>([
  ['empty', { kind: 'empty' }, (text) => expect(text).toBe('')],
  ['html', { kind: 'html' }, (text) => expect(text).toMatch(/^<!DOCTYPE html>/)],
  ['huge', { kind: 'huge', size: '2MiB' }, (text) => expect(text.length).toBeGreaterThan(2 * 1024 ** 2)],
  [
    'truncated',
    { kind: 'truncated' },
    (text) => expect(() => JSON.parse(text) as unknown).toThrow(SyntaxError),
  ],
  [
    'iso-dates',
    { kind: 'iso-dates' },
    (text) => expect(text).toMatch(/"NotBefore":"\d{4}-\d\d-\d\dT[\d:]+Z"/),
  ],
  ['unknown-type', { kind: 'unknown-type' }, (text) => expect(text).toContain('"Levitate"')],
  ['unknown-fields', { kind: 'unknown-fields' }, (text) => expect(text).toContain('"Confidence"')],
  ['missing-fields', { kind: 'missing-fields' }, (text) => expect(text).not.toContain('NotBefore')],
  ['broken-event', { kind: 'broken-event' }, (text) => expect(text).toContain('"Perhaps"')],
])('%s', async (_name, fault, check) => {
  await using mock = await startTestImds();
  mock.addEvent();
  mock.fault(fault);
  const { status, text } = await ask(mock.url, EVENTS);
  expect(status).toBe(200);
  check(text);
});

test('wrong-weekday', async () => {
  await using mock = await startTestImds();
  mock.addEvent();
  const right = String((await askEvents(mock.url)).Events[0]?.['NotBefore']);
  mock.fault({ kind: 'wrong-weekday' });
  const wrong = String((await askEvents(mock.url)).Events[0]?.['NotBefore']);
  expect(wrong.slice(3)).toBe(right.slice(3));
  expect(wrong.slice(0, 3)).not.toBe(right.slice(0, 3));
});

test('redirect', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'redirect', to: 'http://127.0.0.1:9/' });
  expect(await ask(mock.url, EVENTS)).toMatchObject({
    status: 302,
    headers: { location: 'http://127.0.0.1:9/' },
  });
});

test.each(['request', 'body'] as const)('reset after the %s', async (after) => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'reset', after });
  await expect(ask(mock.url, EVENTS)).rejects.toMatchObject({ code: 'ECONNRESET' });
  await mock.waitFor(() => mock.requests()[0]?.outcome === 'dropped', deadline());
});

test('hang lasts until the mock is closed, and does not keep it from closing', async () => {
  const mock = await startTestImds();
  mock.fault({ kind: 'hang' });
  const hanging = ask(mock.url, EVENTS).catch((error: unknown) => error);
  await mock.waitFor(() => mock.requests().length === 1, deadline());
  await mock.close();
  expect(await hanging).toMatchObject({ code: 'ECONNRESET' });
});

test('a slow answer is made when it is sent: it shows what was announced in between', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'slow', delay: '200ms', count: 1 });
  const slow = askEvents(mock.url);
  await mock.waitFor(() => mock.requests().length === 1, deadline());
  mock.addEvent({ id: 'E1' });
  expect((await slow).Events).toHaveLength(1);
});
