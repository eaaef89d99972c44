import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { expect, test } from 'vitest';

import { type Clock, systemClock } from '../../src/base/clock.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { deadline, startClient } from './support.ts';

const NEW = '2024-07-09';
const OLD = '2020-07-01';
const HOUR_MS = 3_600_000;

function movableClock(): Clock & { advance(ms: number): void } {
  let offsetMs = 0;
  return {
    ...systemClock,
    monotonicMs: () => systemClock.monotonicMs() + offsetMs,
    advance(ms) {
      offsetMs += ms;
    },
  };
}

function versionsAsked(mock: Awaited<ReturnType<typeof startTestImds>>): (string | undefined)[] {
  return mock.requests().map((request) => request.apiVersion);
}

test('prefers the version with rebalance recommendations', async () => {
  await using mock = await startTestImds();
  mock.addEvent({ type: 'SpotRebalanceRecommendation' });
  await using client = startClient(mock.url, { apiVersion: 'auto' });
  const poll = await client.get(2000, deadline());
  expect(poll).toMatchObject({
    apiVersion: NEW,
    document: { events: [{ type: 'SpotRebalanceRecommendation' }] },
  });
  await client.acknowledge('E1', deadline());
  expect(versionsAsked(mock)).toEqual([NEW, NEW]);
});

test('falls back within the same poll where it is not offered, and stays there for an hour', async () => {
  const clock = movableClock();
  await using mock = await startTestImds({ service: { apiVersions: [OLD] } });
  await using client = startClient(mock.url, { apiVersion: 'auto' }, clock);
  mock.addEvent();
  const poll = await client.get(2000, deadline());
  expect(poll).toMatchObject({ apiVersion: OLD, document: { events: [{ type: 'Preempt' }] } });
  await client.get(2000, deadline());
  await client.acknowledge('E1', deadline());
  expect(versionsAsked(mock)).toEqual([NEW, OLD, OLD, OLD]);
  clock.advance(HOUR_MS);
  expect(await client.get(2000, deadline())).toMatchObject({ apiVersion: OLD });
  await client.get(2000, deadline());
  expect(versionsAsked(mock).slice(4)).toEqual([NEW, OLD, OLD]);
});

test('a 404 of the time just after boot settles nothing', async () => {
  await using mock = await startTestImds();
  await using client = startClient(mock.url, { apiVersion: 'auto' });
  mock.fault({ kind: 'status', status: 404, count: 4 });
  await expect(client.get(2000, deadline())).rejects.toMatchObject({ code: 'imds-not-found' });
  await expect(client.get(2000, deadline())).rejects.toMatchObject({ code: 'imds-not-found' });
  expect(await client.get(2000, deadline())).toMatchObject({ apiVersion: NEW });
  expect(versionsAsked(mock)).toEqual([NEW, OLD, NEW, OLD, NEW]);
});

test('a 404 that hit only the newest version is forgotten after an hour', async () => {
  const clock = movableClock();
  await using mock = await startTestImds();
  await using client = startClient(mock.url, { apiVersion: 'auto' }, clock);
  mock.fault({ kind: 'status', status: 400, count: 1 });
  expect(await client.get(2000, deadline())).toMatchObject({ apiVersion: OLD });
  clock.advance(HOUR_MS);
  expect(await client.get(2000, deadline())).toMatchObject({ apiVersion: NEW });
});

test('other trouble is no word about versions', async () => {
  await using mock = await startTestImds();
  await using client = startClient(mock.url, { apiVersion: 'auto' });
  mock.fault({ kind: 'status', status: 500, count: 1 });
  await expect(client.get(2000, deadline())).rejects.toMatchObject({ code: 'imds-server-error' });
  expect(await client.get(2000, deadline())).toMatchObject({ apiVersion: NEW });
  expect(versionsAsked(mock)).toEqual([NEW, NEW]);
});

test('both questions of a poll share one timeout', async () => {
  await using mock = await startTestImds({ service: { apiVersions: [OLD] } });
  await using client = startClient(mock.url, { apiVersion: 'auto' });
  mock.fault({ kind: 'slow', delay: '250ms' });
  // Each of the two would fit alone.
  await expect(client.get(400, deadline())).rejects.toMatchObject({ code: 'imds-timeout' });
});

test('a version that the config names is the only one that is asked for', async () => {
  await using mock = await startTestImds({ service: { apiVersions: [OLD] } });
  await using client = startClient(mock.url, { apiVersion: NEW });
  await expect(client.get(2000, deadline())).rejects.toMatchObject({ code: 'imds-not-found' });
  expect(versionsAsked(mock)).toEqual([NEW]);
});

test('asks with the documented version too when the newest fails in any other way for long', async () => {
  // The mock's faults don't tell versions apart, so a server of its own does.
  const server = createServer((request, response) => {
    const isNew = request.url?.includes(NEW) === true;
    response.writeHead(isNew ? 500 : 200, { 'content-type': 'application/json' });
    response.end(isNew ? '{}' : JSON.stringify({ DocumentIncarnation: 1, Events: [] }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // of a TCP server
  await using client = startClient(`http://127.0.0.1:${port}`, { apiVersion: 'auto' });
  try {
    const versions: string[] = [];
    for (let poll = 0; poll < 10; poll++) {
      await client.get(2000, deadline()).then(
        ({ apiVersion }) => versions.push(apiVersion),
        () => undefined,
      );
    }
    expect(versions.length).toBeGreaterThan(3);
    expect(new Set(versions)).toEqual(new Set([OLD]));
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
