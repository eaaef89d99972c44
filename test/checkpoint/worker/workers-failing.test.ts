import { once } from 'node:events';
import { open, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { EvictdError } from '../../../src/base/errors.ts';
import type { PackEvent } from '../../../src/checkpoint/pack/sender.ts';
import { createWorkers } from '../../../src/checkpoint/worker/create-workers.ts';
import { startEngineThread } from '../../../src/checkpoint/worker/engine-worker.ts';
import { testFolder } from '../../support/file-tree.ts';
import { CUT, HASH, never, noise, openRoot, senderOptions, whole, withNumbers } from '../pack/pack-rig.ts';

const REASON = new EvictdError('aborted', 'no time is left');

/** Told events, and when so many packs have begun. */
function listen(count: number) {
  const events: PackEvent[] = [];
  const { promise: haveBegun, resolve } = Promise.withResolvers<void>();
  const onPack = (event: PackEvent) => {
    events.push(event);
    if (events.filter(({ kind }) => kind === 'began').length === count) resolve();
  };
  return { events, haveBegun, onPack };
}

/** Takes requests in and never answers, and counts the bytes it was sent. */
async function silentServer() {
  const sockets = new Set<Socket>();
  const asked = Promise.withResolvers<void>();
  let bytes = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (piece) => {
      bytes += piece.length;
      asked.resolve();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('it listens on a port');
  return {
    url: `http://127.0.0.1:${address.port}/devstoreaccount1/container`,
    asked: asked.promise,
    bytes: () => bytes,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

test('where the service never answers, reading waits, and an abort ends it at once', async () => {
  await using server = await silentServer();
  await using folder = await testFolder();
  await using root = await openRoot(folder.path);
  const size = 100 * CUT.packBytes;
  await writeFile(join(folder.path, 'f'), noise(size));
  const workers = createWorkers({ url: server.url, auth: { kind: 'azurite' } }, { clock: systemClock });
  const { events, haveBegun, onPack } = listen(3);
  const options = senderOptions(root.location);
  const sending = withNumbers(await workers.openSender(0, options, onPack), options);
  const controller = new AbortController();
  const feeding = sending.feed([whole('f', size)], controller.signal).catch((error: unknown) => error);
  await haveBegun;
  await server.asked;
  const reading = workers.store
    .read('x', { bytesMax: 10 }, controller.signal)
    .catch((error: unknown) => error);
  controller.abort(REASON);
  expect(await feeding).toBe(REASON);
  expect(await reading).toBe(REASON);
  // Those under way, and no more.
  expect(events.map(({ kind }) => kind)).toEqual(['began', 'began', 'began']);
  expect(server.bytes()).toBeLessThan(4 * CUT.packBytes);
  await sending.sender.close();
  expect(events.slice(3).map(({ kind }) => kind)).toEqual(['failed', 'failed', 'failed']);
  expect(new Set(events.map(({ name }) => name)).size).toBe(3);
  await workers.close();
});

test('with a thread all that was asked of it fails, and another takes its place', async () => {
  await using server = await silentServer();
  await using folder = await testFolder();
  await using root = await openRoot(folder.path);
  await writeFile(join(folder.path, 'f'), noise(2 * CUT.packBytes));
  const workers = createWorkers({ url: server.url, auth: { kind: 'azurite' } }, { clock: systemClock });
  const { events, haveBegun, onPack } = listen(2);
  const options = senderOptions(root.location);
  const sending = withNumbers(await workers.openSender(0, options, onPack), options);
  await sending.feed([whole('f', 2 * CUT.packBytes)]);
  const flushing = sending.sender.flush(never).catch((error: unknown) => error);
  await haveBegun;
  await server.asked;
  await using target = await open(join(folder.path, 'target'), 'w+');
  const chunk = { id: '00', plain: 1, pack: 'x', offset: 0, stored: 1 };
  const order = {
    pack: 'x',
    offset: 0,
    bytes: 1,
    hash: HASH,
    chunks: [{ chunk, fd: target.fd, position: 0 }],
  };
  const fetching = workers.fetch(order, never).catch((error: unknown) => error);
  await workers.close();
  for (const failure of [await flushing, await fetching])
    expect(failure).toMatchObject({ code: 'worker-failed', message: expect.stringContaining('was ended') });
  expect(events.map(({ kind }) => kind)).toEqual(['began', 'began', 'failed', 'failed']);
  await expect(sending.sender.flush(never)).rejects.toMatchObject({ code: 'worker-failed' });
  await expect(sending.feed([])).rejects.toMatchObject({ code: 'worker-failed' });
  await sending.sender.close();
  const next = await workers.openSender(0, options, () => undefined);
  await next.close();
  await workers.close();
});

test('a thread that dies by itself is the end of its calls and senders only', async () => {
  await using folder = await testFolder();
  await using root = await openRoot(folder.path);
  const ends: string[] = [];
  const start = (name: string) =>
    startEngineThread(
      { url: 'http://127.0.0.1:1/devstoreaccount1/container', auth: { kind: 'azurite' } },
      { clock: systemClock, onEnd: () => void ends.push(name) },
    );
  const [one, other] = [start('one'), start('other')];
  const sender = await one.openSender(senderOptions(root.location), () => undefined);
  // No answer is wanted, so what is wrong with it is nobody's but the thread's.
  one.peer.tell('putPieces', { sender: 99, pieces: [], seqs: [] });
  await expect(sender.flush(never)).rejects.toMatchObject({
    code: 'worker-failed',
    message: expect.stringContaining('there is no sender 99'),
  });
  await expect(one.peer.call('list', { root: root.location, folders: [''] })).rejects.toThrow('sender 99');
  expect(await other.peer.call('list', { root: root.location, folders: [''] })).toMatchObject({
    names: [''],
  });
  await other.end();
  expect(new Set(ends)).toEqual(new Set(['one', 'other']));
});

test('a thread that something holds gets nothing new', async () => {
  await using folder = await testFolder();
  await using root = await openRoot(folder.path);
  let aheadMs = 0;
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs };
  const url = 'http://127.0.0.1:1/devstoreaccount1/container';
  const workers = createWorkers({ url, auth: { kind: 'azurite' } }, { clock });
  const options = senderOptions(root.location);
  const first = await workers.openSender(0, options, () => undefined);
  // Takes a thread some time, during which it looks at nothing else.
  const paths = Array.from({ length: 80_000 }, (_, index) => `none${index}`);
  let isLooking = true;
  const looking = workers.look({ root: root.location, paths }, never).finally(() => (isLooking = false));
  const waiting = first.flush(never);
  aheadMs = 10_000;
  const second = await workers.openSender(0, options, () => undefined);
  await second.flush(never);
  expect(isLooking).toBe(true);
  await Promise.all([looking, waiting]);
  await Promise.all([first.close(), second.close()]);
  await workers.close();
});

test('an idle thread is ended by rest, one with a sender is not', async () => {
  await using folder = await testFolder();
  await using root = await openRoot(folder.path);
  const url = 'http://127.0.0.1:1/devstoreaccount1/container';
  const workers = createWorkers({ url, auth: { kind: 'azurite' } }, { clock: systemClock });
  const sender = await workers.openSender(0, senderOptions(root.location), () => undefined);
  workers.rest();
  await sender.flush(never);
  await sender.close();
  workers.rest();
  await expect(sender.flush(never)).rejects.toMatchObject({ code: 'worker-failed' });
  await workers.close();
});

test('a thread that was idle for long enough is ended', async () => {
  await using folder = await testFolder();
  await using root = await openRoot(folder.path);
  const timers: (() => void)[] = [];
  const clock = {
    ...systemClock,
    timer(_delayMs: number, fire: () => void) {
      timers.push(fire);
      return { [Symbol.dispose]: () => void timers.splice(timers.indexOf(fire), 1) };
    },
  };
  const ended = Promise.withResolvers<void>();
  const thread = startEngineThread(
    { url: 'http://127.0.0.1:1/devstoreaccount1/container', auth: { kind: 'azurite' } },
    { clock, onEnd: ended.resolve },
  );
  expect(timers).toHaveLength(1);
  const sender = await thread.openSender(senderOptions(root.location), () => undefined);
  expect(timers).toHaveLength(0);
  await sender.close();
  expect(timers).toHaveLength(1);
  timers[0]?.();
  await ended.promise;
  await expect(thread.peer.call('prepare', undefined)).rejects.toMatchObject({ code: 'worker-failed' });
});

test('a thread asks for tokens, and what that says comes through', async () => {
  const asked: string[] = [];
  const tokens = {
    current: () => undefined,
    token: () => {
      asked.push('token');
      return Promise.reject(
        new EvictdError('no-token', 'no token for this VM', { remedy: 'assign an identity' }),
      );
    },
    renew: () => Promise.resolve(false),
  };
  const workers = createWorkers(
    {
      url: 'https://127.0.0.1:1/account/container',
      auth: { kind: 'managed-identity' },
      limits: { triesMax: 1 },
    },
    { clock: systemClock, tokens },
  );
  const failure = await workers.store
    .list('', {}, AbortSignal.timeout(20_000))
    .catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(EvictdError);
  expect(failure).toMatchObject({ code: 'no-token', remedy: 'assign an identity' });
  expect(asked).toContain('token');
  await workers.close();
});
