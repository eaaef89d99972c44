import type { Worker } from 'node:worker_threads';

import { assert } from '../../base/assert.ts';
import type { Clock, MonotonicMs } from '../../base/clock.ts';
import { EvictdError, messageOf } from '../../base/errors.ts';
import type { AzureStoreOptions } from '../store/azure/azure-store.ts';
import type { StoreTokens } from '../store/azure/caller.ts';
import type { EngineCalls, MainCalls } from './engine-calls.ts';
import { startProgram } from './engine-program.ts';
import { createPeer } from './peer.ts';
import type { Peer, Port } from './peer.ts';
import { createRemoteSenders } from './remote-senders.ts';
import type { RemoteSenders } from './remote-senders.ts';

/** What the thread is given when it starts. */
export interface EngineThreadData {
  readonly store: AzureStoreOptions;
  /** Tokens are to be asked for. */
  readonly hasTokens: boolean;
  /** Of one number: how many messages it has taken in. */
  readonly taken: SharedArrayBuffer;
}

/** One engine thread. It keeps the process alive only while somebody waits for it. */
export interface EngineThread {
  readonly peer: Peer<EngineCalls>;
  /** A message waits for so long that something must hold the thread, as a mount does where nothing answers. */
  readonly isStuck: boolean;
  /** Nobody waits for it, and it has no sender. */
  readonly isIdle: boolean;
  readonly openSender: RemoteSenders['open'];
  /** Resolves when the thread is gone. */
  end(): Promise<void>;
}

export interface EngineThreadDependencies {
  readonly clock: Clock;
  readonly tokens?: StoreTokens | undefined;
  /** It is of no more use. */
  readonly onEnd: () => void;
}

/** Ends after so long without work: it holds on to some 20 MiB. */
const IDLE_MS = 10_000;
/** What a thread that leaves by itself may take for that. */
const LEAVE_MS = 1000;
/** Far longer than it reads, hashes or encrypts without taking messages in. */
const STUCK_MS = 2000;

/*
 * INVARIANTS
 * - A thread that ends, however that comes, rejects its calls with `worker-failed`, and tells of each pack under way that
 *   it has failed.
 * - A thread is ended when it was idle for IDLE_MS.
 */

/** Throws the system's error where there can't be another thread. */
export function startEngineThread(
  store: AzureStoreOptions,
  { clock, tokens, onEnd }: EngineThreadDependencies,
): EngineThread {
  const taken = new SharedArrayBuffer(4);
  const workerData: EngineThreadData = { store, hasTokens: tokens !== undefined, taken };
  const worker = startProgram({ name: 'evictd-engine', workerData });
  const lag = createLag(worker, new Int32Array(taken), clock);
  let idle: Disposable | undefined;
  let isEnded = false;
  const isIdle = () => peer.waiting === 0 && senders.count === 0;
  const onChange = () => {
    idle?.[Symbol.dispose]();
    idle = isIdle() && !isEnded ? clock.timer(IDLE_MS, () => void end('had nothing to do')) : undefined;
    if (peer.waiting > 0) worker.ref();
    else worker.unref();
  };
  const peer: Peer<EngineCalls> = createPeer<MainCalls, EngineCalls>(
    lag.port,
    {
      token: (_nothing, signal) => tokensOr(tokens).token(signal),
      renew: (stale, signal) => tokensOr(tokens).renew(stale, signal),
      pack: (event) => senders.onPack(event),
    },
    onChange,
  );
  const senders = createRemoteSenders(peer, onChange);
  const exited = Promise.withResolvers<void>();
  const fail = (reason: string, isGone: boolean) => {
    isEnded = true;
    const error = new EvictdError('worker-failed', `the thread that reads and sends ${reason}`);
    peer.end(error, { isGone });
    senders.end(error);
    onChange();
    onEnd();
  };
  const end = (reason: string) => {
    // One that has nothing to do can be asked; what holds another doesn't hear.
    const leaves = isIdle() && !isEnded;
    if (leaves) peer.tell('leave', undefined);
    const late = leaves ? clock.timer(LEAVE_MS, () => void worker.terminate()) : undefined;
    if (!leaves) void worker.terminate();
    fail(reason, false);
    return exited.promise.finally(() => late?.[Symbol.dispose]());
  };
  worker.on('error', (error) => fail(`failed: ${messageOf(error)}`, false));
  worker.on('exit', (code) => {
    fail(`ended with ${code}`, true);
    exited.resolve();
  });
  onChange();
  return {
    peer,
    get isStuck() {
      return lag.ms() >= STUCK_MS;
    },
    get isIdle() {
      return isIdle();
    },
    openSender: senders.open,
    end: () => end('was ended'),
  };
}

/** Knows since when messages wait for the thread to take them in. */
function createLag(worker: Worker, taken: Int32Array<SharedArrayBuffer>, clock: Clock) {
  const waiting: MonotonicMs[] = [];
  let takenBefore = 0;
  let onlineAt: MonotonicMs | undefined;
  worker.once('online', () => (onlineAt = clock.monotonicMs()));
  const port: Port = {
    on: (event, listener) => worker.on(event, listener),
    postMessage(message, moved) {
      waiting.push(clock.monotonicMs());
      worker.postMessage(message, moved);
    },
  };
  return {
    port,
    ms() {
      const takenNow = Atomics.load(taken, 0);
      waiting.splice(0, takenNow - takenBefore);
      takenBefore = takenNow;
      const [first] = waiting;
      // It takes its time to start, and more on a busy machine.
      return first === undefined || onlineAt === undefined
        ? 0
        : clock.monotonicMs() - Math.max(first, onlineAt);
    },
  };
}

function tokensOr(tokens: StoreTokens | undefined): StoreTokens {
  assert(tokens !== undefined, 'a thread asks for tokens only where there are some');
  return tokens;
}
