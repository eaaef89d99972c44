import { describe, expect, test } from 'vitest';

import type { FaultInput } from '../../src/mock/schema.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { deadline, EMPTY_DOCUMENT, startClient, startRawServer } from './support.ts';

test('asks with the Metadata header, the exact query, and nothing that smells of a proxy', async () => {
  await using server = await startRawServer((_request, response) => response.end(EMPTY_DOCUMENT));
  await using client = startClient(server.url);
  const poll = await client.get(2000, deadline());
  expect(poll).toMatchObject({
    apiVersion: '2020-07-01',
    dropped: [],
    document: { events: [], complete: true },
  });
  expect(poll.latencyMs).toBeGreaterThan(0);
  expect(server.seen).toHaveLength(1);
  const [request] = server.seen;
  expect(request).toMatchObject({ method: 'GET', path: '/metadata/scheduledevents?api-version=2020-07-01' });
  expect(request?.headers['metadata']).toBe('true');
  expect(request?.headers).not.toHaveProperty('x-forwarded-for');
});

test('sees an event of this VM, with the time that is left by the clock of the service', async () => {
  await using mock = await startTestImds({ vm: { name: 'fleet_2' } });
  mock.shiftClock('-1h');
  const event = mock.addEvent({ notBefore: '30s', resources: ['self', 'fleet_7'] });
  await using client = startClient(mock.url);
  const { document } = await client.get(2000, deadline());
  const [seen] = document.events;
  expect(seen).toMatchObject({
    id: event.id,
    type: 'Preempt',
    status: 'Scheduled',
    resources: ['fleet_2', 'fleet_7'],
  });
  const leftMs = (seen?.notBefore ?? 0) - (document.serverNow ?? 0);
  expect(leftMs).toBeGreaterThanOrEqual(29_000);
  expect(leftMs).toBeLessThanOrEqual(31_000);
});

describe('trouble of the service', () => {
  test('one broken event among good ones hides none of them', async () => {
    await using mock = await startTestImds();
    await using client = startClient(mock.url);
    const event = mock.addEvent();
    mock.fault({ kind: 'broken-event' });
    const { document, dropped } = await client.get(2000, deadline());
    expect(document.complete).toBe(false);
    expect(document.events.map(({ id }) => id)).toEqual([event.id]);
    expect(dropped).toMatchObject([{ index: 0 }]);
  });

  test.each<[string, FaultInput, boolean]>([
    ['ISO dates', { kind: 'iso-dates' }, true],
    ['a wrong weekday', { kind: 'wrong-weekday' }, true],
    ['unknown fields', { kind: 'unknown-fields' }, true],
    ['missing fields', { kind: 'missing-fields' }, false],
  ])('%s are read', async (_name, fault, hasNotBefore) => {
    await using mock = await startTestImds();
    await using client = startClient(mock.url);
    const event = mock.addEvent();
    mock.fault(fault);
    const { document } = await client.get(2000, deadline());
    expect(document.complete).toBe(true);
    expect(document.events[0]?.notBefore).toBe(hasNotBefore ? event.notBefore : undefined);
  });

  test('a service that nobody listens on is unreachable', async () => {
    const server = await startRawServer((_request, response) => response.end());
    await server[Symbol.asyncDispose]();
    await using client = startClient(server.url);
    await expect(client.get(2000, deadline())).rejects.toMatchObject({ code: 'imds-unreachable' });
  });

  test('an abort ends the request at once', async () => {
    await using mock = await startTestImds();
    mock.fault({ kind: 'hang' });
    await using client = startClient(mock.url);
    const controller = new AbortController();
    const poll = client.get(60_000, controller.signal);
    await mock.waitFor(() => mock.requests().length === 1, deadline());
    controller.abort();
    await expect(poll).rejects.toMatchObject({ code: 'aborted' });
    await mock.waitFor(() => mock.requests()[0]?.outcome === 'dropped', deadline());
  });
});

describe('acknowledgement', () => {
  test('posts the id as JSON and is accepted, also the second time', async () => {
    await using mock = await startTestImds();
    const { id } = mock.addEvent();
    await using client = startClient(mock.url);
    expect(await client.acknowledge(id, deadline())).toEqual({ kind: 'accepted' });
    expect(await client.acknowledge(id.toLowerCase(), deadline())).toEqual({ kind: 'accepted' });
    expect(mock.acks()).toMatchObject([
      { eventId: id, known: true },
      { eventId: id.toLowerCase(), known: true },
    ]);
  });

  test('sends the documented body, header and version', async () => {
    let body = '';
    await using server = await startRawServer((request, response) => {
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => response.end());
    });
    await using client = startClient(server.url);
    await client.acknowledge('E1', deadline());
    expect(JSON.parse(body)).toEqual({ StartRequests: [{ EventId: 'E1' }] });
    expect(server.seen).toMatchObject([
      {
        method: 'POST',
        path: '/metadata/scheduledevents?api-version=2020-07-01',
        headers: { metadata: 'true', 'content-type': 'application/json' },
      },
    ]);
  });

  test('a 400 is a refusal', async () => {
    await using mock = await startTestImds();
    await using client = startClient(mock.url);
    expect(await client.acknowledge('never-announced', deadline())).toMatchObject({
      kind: 'refused',
      detail: expect.stringContaining('400') as unknown,
    });
  });

  test.each<[string, FaultInput]>([
    ['429', { kind: 'status', status: 429, on: 'ack' }],
    ['500', { kind: 'status', status: 500, on: 'ack' }],
    ['a redirect', { kind: 'redirect', to: 'http://127.0.0.1:9/', on: 'ack' }],
    ['a reset', { kind: 'reset', on: 'ack' }],
  ])('%s is a failure, not a rejection', async (_name, fault) => {
    await using mock = await startTestImds();
    const { id } = mock.addEvent();
    mock.fault(fault);
    await using client = startClient(mock.url);
    expect(await client.acknowledge(id, deadline())).toMatchObject({ kind: 'failed' });
    expect(mock.acks()).toEqual([]);
  });

  test('ends with its signal when the service hangs', async () => {
    await using mock = await startTestImds();
    mock.fault({ kind: 'hang', on: 'ack' });
    await using client = startClient(mock.url);
    expect(await client.acknowledge('E1', AbortSignal.timeout(100))).toMatchObject({ kind: 'failed' });
    expect(await client.acknowledge('E1', AbortSignal.abort())).toMatchObject({ kind: 'failed' });
  });
});
