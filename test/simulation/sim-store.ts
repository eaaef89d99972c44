import { EvictdError } from '../../src/base/errors.ts';
import type { BlobItem, BlobStore, StoreErrorCode } from '../../src/checkpoint/store.ts';
import { type MemoryService, storeError } from '../support/memory-store.ts';
import { putEach } from '../support/put-each.ts';
import type { Agenda } from './agenda.ts';
import { type GuestProcess, running } from './guest.ts';
import type { Random } from './random.ts';

export interface StoreWeather {
  /** How likely a call goes wrong. */
  readonly trouble: () => number;
  readonly bytesPerMs: number;
  readonly latencyMs: number;
  /** Small blobs are taken together, as by the real client for a token, but not for a key. */
  readonly takesTogether: () => boolean;
  /** After a call took effect. */
  readonly onEffect: (process: GuestProcess, operation: string, name: string) => void;
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

/** As the real client has it for one try. */
const TRY_MS = 8000;
const never = new AbortController().signal;

/**
 * The store as a process in the simulated world reaches it: slow, forgetful, and going on with what was asked for after
 * the one who asked has gone.
 */
export function connectStore(
  service: MemoryService,
  process: GuestProcess,
  weather: StoreWeather,
  { agenda, random }: { readonly agenda: Agenda; readonly random: Random },
): BlobStore {
  const inner = service.connect();

  function call<T>(
    operation: string,
    name: string,
    bytes: number,
    signal: AbortSignal,
    act: () => Promise<T>,
  ) {
    process.doors.crashPoint(process, `before ${operation}`);
    return new Promise<T>((resolve, reject) => {
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
      const isAnswerLost = fault !== undefined && random.chance(0.5);
      const way = weather.latencyMs * random.between(0.3, 1.2);
      const arrive = async () => {
        // What goes into a file of the guest needs somebody there to write it.
        if (operation === 'download' && (isOver || !process.isAlive())) return;
        const outcome = await running.run(process, act).then(
          (value) => {
            weather.onEffect(process, operation, name);
            return () => resolve(value);
          },
          (error: unknown) => () => reject(error instanceof Error ? error : new Error(String(error))),
        );
        process.doors.crashPoint(process, `after ${operation}`);
        if (fault === 'hang') return;
        process.clock.timer(way, () => (isAnswerLost ? refuse('network') : end(outcome)));
      };
      agenda.after(way + bytes / weather.bytesPerMs, () => {
        if (fault === undefined || isAnswerLost) void arrive();
        else if (fault !== 'hang') process.clock.timer(way, () => refuse(fault));
      });
    });
  }

  const put: BlobStore['put'] = (name, body, write, signal) => {
    const copy = Buffer.from(body);
    return call('put', name, copy.length, signal, () => inner.put(name, copy, write, never));
  };
  const snapshot: BlobStore['snapshot'] = (name, etag, signal) =>
    call('snapshot', name, 0, signal, () => inner.snapshot(name, etag, never));
  /** Answers without one where that fails. */
  const putWithSnapshot: BlobStore['put'] = async (name, body, write, signal) => {
    const written = await put(name, body, write, signal);
    if (write.snapshot !== true) return written;
    try {
      return { ...written, snapshot: await snapshot(name, written.etag, signal) };
    } catch {
      return written;
    }
  };

  return {
    describe: 'a container in the simulated world',
    async *list(prefix, signal, options) {
      yield* await call('list', prefix, 0, signal, () => all(inner.list(prefix, never, options)));
    },
    read: (name, options, signal) => call('read', name, 0, signal, () => inner.read(name, options, never)),
    download(name, options, signal) {
      const bytes = options.lengths.reduce((sum, length) => sum + length, 0);
      return call('download', name, bytes, signal, () => inner.download(name, options, never));
    },
    blocks: (name, signal) => call('blocks', name, 0, signal, () => inner.blocks(name, never)),
    stageBlock(name, id, body, signal) {
      // The memory is the caller's again as soon as it has its answer.
      const copy = Buffer.from(body);
      return call('stageBlock', name, copy.length, signal, () => inner.stageBlock(name, id, copy, never));
    },
    commitBlocks: (name, ids, write, signal) =>
      call('commitBlocks', name, 0, signal, () => inner.commitBlocks(name, ids, write, never)),
    put,
    ...(weather.takesTogether() && { putTogether: putEach(putWithSnapshot) }),
    snapshot,
    head: (name, signal) => call('head', name, 0, signal, () => inner.head(name, never)),
    remove: (name, options, signal) =>
      call('remove', name, 0, signal, () => inner.remove(name, options, never)),
  };
}

async function all(items: AsyncIterable<BlobItem>): Promise<readonly BlobItem[]> {
  const found: BlobItem[] = [];
  for await (const item of items) found.push(item);
  return found;
}
