import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';

import { expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { Clock } from '../../src/base/clock.ts';
import { createHttpSender } from '../../src/checkpoint/http-sender.ts';
import { never } from '../support/checkpoints.ts';
import { listening, putHead, senderTo, sendingThreads } from './sender-rig.ts';

test('what is to follow goes out on the same connection for just the version that was written', async () => {
  const asked: (readonly [
    path: string | undefined,
    ifMatch: string | undefined,
    port: number | undefined,
  ])[] = [];
  const answer: RequestListener = (request, response) => {
    asked.push([request.url, request.headers['if-match'], request.socket.remotePort]);
    request.resume();
    const headers = { 'content-length': 0, ...(request.url !== '/none' && { etag: `"${request.url}"` }) };
    if (request.url === '/closing') response.shouldKeepAlive = false;
    const status = request.url === '/refused' ? 412 : request.url === '/busy' ? 503 : 201;
    response.writeHead(status, headers).end();
  };
  await using server = await listening(createServer(answer));
  using client = senderTo(server.port);
  const body = Buffer.alloc(100_000);
  expect(await client.putBoth('/one', body, '/two')).toMatchObject({
    status: 201,
    next: { status: 201 },
  });
  expect(asked.map(([path, ifMatch]) => [path, ifMatch])).toEqual([
    ['/one', undefined],
    ['/two', '"/one"'],
  ]);
  expect(asked[0]?.[2]).toBe(asked[1]?.[2]);
  expect(await client.putBoth('/one', body, '/busy')).toMatchObject({ status: 201, next: { status: 503 } });
  asked.length = 0;
  // Nothing follows what failed, what has no version, and what was the last on its connection.
  expect(await client.putBoth('/refused', body, '/two')).toMatchObject({ status: 412, next: undefined });
  expect(await client.putBoth('/none', body, '/two')).toMatchObject({ status: 201, next: undefined });
  expect(await client.putBoth('/closing', body, '/two')).toMatchObject({ status: 201, next: undefined });
  expect(asked.map(([path]) => path)).toEqual(['/refused', '/none', '/closing']);
  expect(await client.put('/next')).toMatchObject({ status: 201 });
});

test('no more go out at once than there is room for; who waits can be aborted, the others go in their order', async () => {
  const answers: (() => void)[] = [];
  const asked: (string | undefined)[] = [];
  const answer: RequestListener = (request, response) => {
    asked.push(request.url);
    request.resume();
    answers.push(() => void response.writeHead(201, { 'content-length': 0 }).end());
  };
  await using server = await listening(createServer(answer));
  using client = senderTo(server.port, undefined, 2);
  const aborting = new AbortController();
  const all = ['/1', '/2', '/3'].map((path) => client.put(path));
  const aborted = client.put('/aborted', Buffer.from('x'), aborting.signal);
  all.push(client.put('/4'), client.put('/5'));
  await vi.waitFor(() => expect(answers).toHaveLength(2));
  aborting.abort(new Error('enough'));
  await expect(aborted).rejects.toThrow('enough');
  for (let done = 0; done < all.length; done++) {
    await vi.waitFor(() => expect(answers.length).toBeGreaterThan(done));
    expect(answers.length).toBeLessThanOrEqual(done + 2);
    answers[done]?.();
    await Promise.any(all.slice(done, done + 2));
  }
  await Promise.all(all);
  expect(asked.toSorted((one = '', other = '') => one.localeCompare(other))).toEqual([
    '/1',
    '/2',
    '/3',
    '/4',
    '/5',
  ]);
  expect(asked.slice(2)).toEqual(['/3', '/4', '/5']);
});

test('a request that gets no answer gives its room to others', async () => {
  const stuck = Promise.withResolvers<() => void>();
  const answer: RequestListener = (request, response) => {
    const end = () => void response.writeHead(201, { 'content-length': 0 }).end();
    if (request.url === '/stuck') stuck.resolve(end);
    else end();
  };
  await using server = await listening(createServer(answer));
  using client = senderTo(server.port, undefined, 1);
  const first = client.put('/stuck');
  expect(await client.put('/next')).toMatchObject({ status: 201 });
  (await stuck.promise)();
  expect(await first).toMatchObject({ status: 201 });
});

test('a thread that is started ahead is used, and ends when nothing comes', async () => {
  const ended: (() => void)[] = [];
  const timer: Clock['timer'] = (_delay, fire) => {
    ended.push(fire);
    return { [Symbol.dispose]: () => undefined };
  };
  const connections = new Set<unknown>();
  await using server = await listening(
    createServer((request, response) => {
      connections.add(request.socket);
      response.writeHead(201, { 'content-length': 0 }).end();
    }),
  );
  const origin = { host: '127.0.0.1', port: server.port, connectMs: 5000, idleMs: 5000 };
  const sender = createHttpSender(
    { origin, connectionsMax: 8, headersRead: ['etag'] },
    { clock: { ...systemClock, timer } },
  );
  expect(sender.isReady).toBe(false);
  sender.start();
  sender.start();
  await vi.waitFor(() => expect(sender.isReady).toBe(true));
  expect(await sender.send({ head: putHead('/'), body: undefined }, never())).toMatchObject({ status: 201 });
  expect(await sendingThreads()).toBe(1);
  expect(connections.size).toBe(1);
  ended.at(-1)?.();
  await vi.waitFor(async () => expect(await sendingThreads()).toBe(0));
});
