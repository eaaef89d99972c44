import { EvictdError } from '../../src/base/errors.ts';
import type { BlobStore, StoreErrorCode } from '../../src/checkpoint/store/store.ts';
import { type BlobCall, type MemoryBlobs, storeError } from '../support/memory-blobs.ts';
import type { Agenda } from './agenda.ts';
import { type GuestProcess, running } from './guest.ts';
import type { Random } from './random.ts';

type Operation = BlobCall['operation'];

export interface StoreWeather {
  /** How likely a try goes wrong. */
  readonly trouble: () => number;
  /** How likely what goes wrong arrives all the same, long after. */
  readonly late: number;
  readonly bytesPerMs: number;
  readonly latencyMs: number;
  /** The service keeps it, whatever it is asked. */
  readonly isKept: (name: string) => boolean;
  /** A call took effect at this instant. */
  readonly onEffect: (process: GuestProcess, operation: Operation, name: string, answer: unknown) => void;
  /** The caller has changed what it was sending. */
  readonly onTorn: (name: string) => void;
}

/** Before the effect. `hang`: no answer ever comes. */
const FAULTS: readonly [StoreErrorCode | 'hang', ...(StoreErrorCode | 'hang')[]] = [
  'throttled',
  'unavailable',
  'network',
  'timeout',
  'unauthenticated',
  'forbidden',
  'no-token',
  'bad-answer',
  'hang',
];
const RETRIED: ReadonlySet<string> = new Set(['throttled', 'unavailable', 'network', 'timeout']);

/** As the real client has it for one try. */
const TRY_MS = 8000;
/** Pruning leaves alone what is younger than some time; see boot.ts. */
const LATE_MS_MAX = 20_000;
const never = new AbortController().signal;

/**
 * The store as a process in the simulated world reaches it: slow, forgetful, and going on with what was asked for after
 * the one who asked has gone.
 */
export function connectStore(
  service: MemoryBlobs,
  process: GuestProcess,
  weather: StoreWeather,
  { agenda, random }: { readonly agenda: Agenda; readonly random: Random },
): BlobStore {
  const inner = service.connect();
  const pause = (ms: number) => new Promise<void>((resolve) => void process.clock.timer(ms, resolve));

  interface Call<T> {
    readonly operation: Operation;
    readonly name: string;
    readonly bytes: number;
    readonly act: () => Promise<T>;
    /** Looked at when it arrives while somebody waits for it. */
    readonly isWhole?: () => boolean;
  }

  async function call<T>(made: Call<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      try {
        return await callOnce(made, signal);
      } catch (error) {
        const isRetried = error instanceof EvictdError && RETRIED.has(error.code) && random.chance(0.7);
        if (!isRetried || signal.aborted) throw error;
        await pause(random.between(50, 1000));
        if (signal.aborted) throw error;
      }
    }
  }

  async function callOnce<T>(
    { operation, name, bytes, act, isWhole }: Call<T>,
    signal: AbortSignal,
  ): Promise<T> {
    process.doors.crashPoint(process, `before ${operation}`);
    await process.doors.pausePoint(process, operation, name);
    return new Promise<T>((resolve, reject) => {
      // The dead ask for nothing.
      if (!process.isAlive()) return;
      let isOver = false;
      const end = (settle: () => void) => {
        if (isOver) return;
        isOver = true;
        timer[Symbol.dispose]();
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const onAbort = () =>
        end(() =>
          reject(signal.reason instanceof EvictdError ? signal.reason : storeError('aborted', 'aborted')),
        );
      const refuse = (code: StoreErrorCode) =>
        end(() => reject(storeError(code, `simulated: ${operation} ${name}`)));
      const timer = process.clock.timer(TRY_MS + bytes / weather.bytesPerMs, () => refuse('timeout'));
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) return onAbort();
      const fault = random.chance(weather.trouble()) ? random.pick(FAULTS) : undefined;
      const isLate = fault !== undefined && random.chance(weather.late);
      const isAnswerLost = fault !== undefined && (isLate || random.chance(0.5));
      const way = weather.latencyMs * random.between(0.3, 1.2);
      const lateMs = isLate ? random.between(0, LATE_MS_MAX) : 0;
      const arrive = async () => {
        // What is only asked needs somebody there to hear it.
        if (operation === 'read' && (isOver || !process.isAlive())) return;
        if (!isOver && isWhole?.() === false) weather.onTorn(name);
        const outcome = await running.run(process, act).then(
          (value) => {
            weather.onEffect(process, operation, name, value);
            return () => resolve(value);
          },
          (error: unknown) => () => reject(error instanceof Error ? error : new Error(String(error))),
        );
        process.doors.crashPoint(process, `after ${operation}`);
        if (fault === 'hang') return;
        process.clock.timer(way, () => (isAnswerLost ? refuse('network') : end(outcome)));
      };
      agenda.after(way + bytes / weather.bytesPerMs + lateMs, () => {
        if (fault === undefined || isAnswerLost) void arrive();
        else if (fault !== 'hang') process.clock.timer(way, () => refuse(fault));
      });
    });
  }

  const write = (
    operation: 'create' | 'replace',
    name: string,
    body: Uint8Array,
    act: (copy: Uint8Array) => Promise<unknown>,
    signal: AbortSignal,
  ) => {
    const copy = Buffer.from(body);
    const isWhole = () => Buffer.compare(copy, body) === 0;
    return call({ operation, name, bytes: copy.length, act: () => act(copy), isWhole }, signal);
  };
  const ask = <T>(operation: Operation, name: string, act: () => Promise<T>, signal: AbortSignal) =>
    call({ operation, name, bytes: 0, act }, signal);

  return {
    describe: 'a container in the simulated world',
    list: (prefix, options, signal) => ask('list', prefix, () => inner.list(prefix, options, never), signal),
    folders: (prefix, options, signal) =>
      ask('folders', prefix, () => inner.folders(prefix, options, never), signal),
    read: (name, options, signal) => ask('read', name, () => inner.read(name, options, never), signal),
    // It is what `create` of the inner one answers.
    create: (name, body, options, signal) =>
      write('create', name, body, (copy) => inner.create(name, copy, options, never), signal) as ReturnType<
        BlobStore['create']
      >,
    async replace(name, body, options, signal) {
      await write('replace', name, body, (copy) => inner.replace(name, copy, options, never), signal);
    },
    remove(name, signal) {
      const act = async () => {
        if (weather.isKept(name)) throw storeError('immutable', `simulated: ${name} is kept`);
        return inner.remove(name, never);
      };
      return ask('remove', name, act, signal);
    },
    ensureContainer: (signal) =>
      ask('ensureContainer', 'evictd-probe', () => inner.ensureContainer(never), signal),
  };
}
