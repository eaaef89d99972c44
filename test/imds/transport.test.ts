import type { Socket } from 'node:net';

import { afterEach, expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createTransport } from '../../src/imds/transport.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { startMuteServer } from './mute-server.ts';
import { deadline, EMPTY_DOCUMENT, startClient, startRawServer } from './support.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

test('refuses a redirect and never asks where it points', async () => {
  await using target = await startRawServer((_request, response) => response.end(EMPTY_DOCUMENT));
  await using mock = await startTestImds();
  mock.fault({ kind: 'redirect', to: `${target.url}/metadata/scheduledevents` });
  await using client = startClient(mock.url);
  await expect(client.get(2000, deadline())).rejects.toMatchObject({ code: 'imds-redirect' });
  expect(target.seen).toEqual([]);
});

test('goes past every proxy that the environment names', async () => {
  await using proxy = await startRawServer((_request, response) => response.end(EMPTY_DOCUMENT));
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy']) {
    vi.stubEnv(name, proxy.url);
  }
  vi.stubEnv('NODE_USE_ENV_PROXY', '1');
  await using mock = await startTestImds();
  mock.addEvent();
  await using client = startClient(mock.url);
  expect((await client.get(2000, deadline())).document.events).toHaveLength(1);
  expect(proxy.seen).toEqual([]);
});

test('stops reading an endless answer soon after the cap', async () => {
  let socket: Socket | null = null;
  const closed = Promise.withResolvers<void>();
  await using server = await startRawServer((_request, response) => {
    socket = response.socket;
    response.on('close', () => closed.resolve());
    const more = () => {
      while (!response.destroyed && response.write('x'.repeat(64 * 1024)));
      if (!response.destroyed) response.once('drain', more);
    };
    more();
  });
  await using client = startClient(server.url, { responseBytesMax: 100_000 });
  await expect(client.get(10_000, deadline())).rejects.toMatchObject({ code: 'imds-too-large' });
  await closed.promise;
  // What fits in the socket buffers of both sides may be on its way; an endless answer would be far beyond.
  expect((socket as Socket | null)?.bytesWritten).toBeLessThan(16 * 1024 ** 2);
});

test('an answer of exactly the cap is read, one byte more is not', async () => {
  await using server = await startRawServer((_request, response) => response.end(EMPTY_DOCUMENT));
  const bytes = EMPTY_DOCUMENT.length;
  await using exact = startClient(server.url, { responseBytesMax: bytes });
  expect((await exact.get(2000, deadline())).document.events).toEqual([]);
  await using short = startClient(server.url, { responseBytesMax: bytes - 1 });
  await expect(short.get(2000, deadline())).rejects.toMatchObject({ code: 'imds-too-large' });
});

test('its timeout covers the body, too, and closes the connection', async () => {
  const closed = Promise.withResolvers<void>();
  await using server = await startRawServer((_request, response) => {
    response.on('close', () => closed.resolve());
    response.write('{"DocumentIncarnation":1,');
  });
  await using client = startClient(server.url);
  await expect(client.get(150, deadline())).rejects.toMatchObject({ code: 'imds-timeout' });
  await closed.promise;
});

test('its timeout covers connecting, too', async () => {
  await using mute = await startMuteServer();
  await using client = startClient(mute.url);
  await expect(client.get(200, deadline())).rejects.toMatchObject({ code: 'imds-timeout' });
  expect(await client.acknowledge('E1', AbortSignal.timeout(200))).toMatchObject({ kind: 'failed' });
});

test('keeps its connections from one poll to the next', async () => {
  const sockets = new Set<Socket | null>();
  await using server = await startRawServer((_request, response) => {
    sockets.add(response.socket);
    response.end(EMPTY_DOCUMENT);
  });
  await using client = startClient(server.url);
  for (let count = 0; count < 8; count++) await client.get(2000, deadline());
  // A question right after the last byte may find the first connection not yet free.
  expect(sockets.size).toBeLessThanOrEqual(2);
});

test('an error says where it asked, never what the endpoint had for a password', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'reset' });
  const transport = createTransport(
    { endpoint: mock.url.replace('http://', 'http://user:hunter2@'), responseBytesMax: 1000 },
    { clock: systemClock },
  );
  const failure = transport.request({ method: 'GET', path: '/metadata/scheduledevents' }, 2000, deadline());
  await expect(failure).rejects.toThrow(`${mock.url}/metadata/scheduledevents`);
  await expect(failure).rejects.not.toThrow('hunter2');
  await transport.close();
});

test.each(['169.254.169.254', 'ftp://169.254.169.254', ''])('%j is no endpoint', (endpoint) => {
  expect(() => createTransport({ endpoint, responseBytesMax: 1 }, { clock: systemClock })).toThrow(
    expect.objectContaining({ code: 'bad-endpoint' }),
  );
});
