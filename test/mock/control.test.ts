import { expect, test } from 'vitest';

import { startTestImds } from '../support/mock-imds.ts';
import { ask, askEvents, deadline } from './support.ts';

const EVENTS = '/metadata/scheduledevents?api-version=2020-07-01';

function control(url: string, method: string, path: string, body?: unknown) {
  return ask(url, path, {
    method,
    metadata: false,
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
}

test('adds and withdraws events over HTTP', async () => {
  await using mock = await startTestImds();
  const added = await control(mock.url, 'POST', '/mock/events', {
    id: 'E 1',
    type: 'Reboot',
    notBefore: '5m',
  });
  expect(added.status).toBe(201);
  expect(JSON.parse(added.text)).toMatchObject({ id: 'E 1', type: 'Reboot', resources: ['fleet_0'] });
  expect((await askEvents(mock.url)).Events).toHaveLength(1);
  expect((await control(mock.url, 'DELETE', '/mock/events/e%201')).status).toBe(200);
  expect((await askEvents(mock.url)).Events).toEqual([]);
  expect((await control(mock.url, 'DELETE', '/mock/events/E1')).status).toBe(404);
});

test('switches faults, clock and incarnation over HTTP', async () => {
  await using mock = await startTestImds();
  expect((await control(mock.url, 'POST', '/mock/faults', { kind: 'status', status: 500 })).status).toBe(201);
  expect((await ask(mock.url, EVENTS)).status).toBe(500);
  expect((await control(mock.url, 'DELETE', '/mock/faults')).status).toBe(200);
  expect((await ask(mock.url, EVENTS)).status).toBe(200);
  expect((await control(mock.url, 'POST', '/mock/clock', { shift: '-1h' })).status).toBe(200);
  expect((await control(mock.url, 'POST', '/mock/incarnation', { value: 40 })).status).toBe(200);
  expect(JSON.parse((await control(mock.url, 'GET', '/mock/state')).text)).toMatchObject({
    incarnation: 40,
    clockShiftMs: -3_600_000,
    faults: [],
  });
});

test('keeps a log of every request and acknowledgement, refused ones too, but not of its own control', async () => {
  await using mock = await startTestImds();
  const { id } = mock.addEvent();
  await ask(mock.url, EVENTS, { metadata: false });
  await ask(mock.url, EVENTS, { method: 'POST', body: JSON.stringify({ StartRequests: [{ EventId: id }] }) });
  await mock.waitFor(() => mock.requests().every(({ outcome }) => outcome === 'answered'), deadline());
  const log: unknown = JSON.parse((await control(mock.url, 'GET', '/mock/log')).text);
  expect(log).toMatchObject({
    requests: [
      { number: 1, method: 'GET', path: EVENTS, apiVersion: '2020-07-01', status: 400 },
      { number: 2, method: 'POST', path: EVENTS, status: 200 },
    ],
    acks: [{ eventId: id, known: true, requestNumber: 2 }],
  });
});

test.each([
  ['no JSON', 'POST', '/mock/events', 'type=Preempt', 'not JSON'],
  ['an unknown key', 'POST', '/mock/events', { typ: 'Preempt' }, 'allowed: id, type'],
  ['a bad duration', 'POST', '/mock/events', { notBefore: '30' }, 'a number and a unit'],
  ['an unknown fault', 'POST', '/mock/faults', { kind: 'explode' }, 'allowed kinds: hang'],
  ['a fault that lacks its value', 'POST', '/mock/faults', { kind: 'slow' }, 'fault: delay'],
  ['a clock without a shift', 'POST', '/mock/clock', {}, 'clock: shift'],
  ['a negative incarnation', 'POST', '/mock/incarnation', { value: -1 }, 'incarnation: value = -1'],
  ['an id that is not encoded', 'DELETE', '/mock/events/%ff', undefined, 'percent-encoded'],
])('explains what is wrong with %s', async (_name, method, path, body, part) => {
  await using mock = await startTestImds();
  const { status, text } = await control(mock.url, method, path, body);
  expect(status).toBe(400);
  expect(text).toContain(part);
  expect(mock.state()).toMatchObject({ events: [], faults: [] });
});

test('lists its paths when it is asked for another, and refuses what is too large', async () => {
  await using mock = await startTestImds();
  const unknown = await control(mock.url, 'GET', '/mock/nothing');
  expect(unknown.status).toBe(404);
  expect(unknown.text).toContain('POST /mock/events');
  expect((await control(mock.url, 'POST', '/mock/events', 'x'.repeat(70_000))).status).toBe(413);
});

test('waiting ends with its signal', async () => {
  await using mock = await startTestImds();
  await expect(mock.waitForAck('E1', AbortSignal.timeout(50))).rejects.toMatchObject({
    name: 'TimeoutError',
  });
  await expect(mock.waitFor(() => false, AbortSignal.abort(new Error('over')))).rejects.toThrow('over');
});
