import { abandonOn, childController, reasonOf } from '../../base/abort.ts';
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import { EvictdError } from '../../base/errors.ts';
import { chunkIdOf } from '../format/chunk-id.ts';
import type { StoredChunk } from '../format/chunk.ts';
import type { BlobStore } from '../store/store.ts';
import { createBegunPacks } from './begun-packs.ts';
import type { BegunPacks } from './begun-packs.ts';
import { createCourier } from './courier.ts';
import { ROWS_MAX } from './open-pack.ts';
import { createPace, roomIn } from './pace.ts';
import type { Pace } from './pace.ts';
import { readItems } from './read-items.ts';
import type { ItemResult, PackEvent, Sender, SenderOptions } from './sender.ts';

/** Of one sender at once; more don't make it faster, and each holds the memory of a pack. */
const UNDER_WAY_MAX = 3;
/** Sets with larger packs have fewer under way. */
const UNDER_WAY_BYTES_MAX = 48 * 1024 ** 2;

export interface SenderDependencies {
  readonly store: Pick<BlobStore, 'create' | 'read'>;
  readonly clock: Clock;
  readonly onPack: (event: PackEvent) => void;
}

/**
 * A sender that works in this thread, and holds it while it reads. Calls are done one after the other. After a pack has
 * failed each of them rejects with that error, until `drop`. A feed takes at most 32,768 items, putPieces as many pieces;
 * numbers that a call leaves over are not used later.
 */
export function createPackSender(
  options: SenderOptions,
  { store, clock, onPack }: SenderDependencies,
): Sender {
  const lifetime = new AbortController();
  const { packPrefix, cut } = options;
  const placesMax = Math.min(Math.max(Math.floor(UNDER_WAY_BYTES_MAX / cut.packBytes), 1), UNDER_WAY_MAX);
  const courier = createCourier(
    { packPrefix, placesMax },
    { store, clock, onPack, lifetime: lifetime.signal },
  );
  const packs = createBegunPacks(options, courier);
  const run = createRunner(lifetime.signal);
  const toBeSent = <T>(
    seqs: readonly number[],
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ) =>
    run.inTurn(signal, async (inner) => {
      if (courier.failure !== undefined) throw courier.failure;
      packs.giveNumbers(seqs);
      try {
        return await work(inner);
      } finally {
        packs.giveNumbers([]);
      }
    });
  const seal = async (signal: AbortSignal) => {
    for (const purpose of packs.begun()) while (!packs.send(purpose)) await roomIn(courier, signal);
  };
  return {
    feed: (items, seqs, signal) =>
      toBeSent(seqs, signal, async (inner) => {
        assert(items.length <= ROWS_MAX, 'too many items at once');
        const results: ItemResult[] = [];
        const pace = createPace(courier, clock, inner);
        const context = { ...options, clock, pace, packFor: packs.packFor };
        for (const step of readItems(items, context, results)) await step;
        return results;
      }),
    putPieces: (pieces, seqs, signal) =>
      toBeSent(seqs, signal, async (inner) => {
        assert(pieces.length <= ROWS_MAX, 'too many pieces at once');
        return await putPieces(pieces, options, packs, createPace(courier, clock, inner), clock);
      }),
    seal: (signal) => toBeSent([], signal, seal),
    flush: (signal) =>
      toBeSent([], signal, async (inner) => {
        await seal(inner);
        while (courier.underWay > 0 && courier.failure === undefined) await courier.progress(inner);
        if (courier.failure !== undefined) throw courier.failure;
      }),
    drop: (signal) =>
      run.inTurn(signal, async (inner) => {
        const names = packs.drop();
        while (courier.underWay > 0) await courier.progress(inner);
        courier.forgive();
        return names;
      }),
    async close() {
      lifetime.abort(new EvictdError('aborted', 'the sender of packs was closed'));
      await run.settled();
      while (courier.underWay > 0) await courier.progress(new AbortController().signal);
      packs.drop();
      // Sockets of requests that were aborted close in this turn of the event loop, and read their memory until then.
      await new Promise((resolve) => setImmediate(resolve));
      packs.freeMemory();
    },
  };
}

async function putPieces(
  pieces: readonly Uint8Array[],
  { hash }: SenderOptions,
  packs: BegunPacks,
  pace: Pace,
  clock: Clock,
): Promise<readonly StoredChunk[]> {
  const chunks: StoredChunk[] = [];
  for (const piece of pieces) {
    let pack = packs.packFor('meta', piece.length);
    for (; pack === undefined; pack = packs.packFor('meta', piece.length)) await pace.room();
    pack.space(piece.length).set(piece);
    chunks.push(pack.keep(chunkIdOf(piece, hash), piece.length, { compress: true }));
    if (pace.isDue(piece.length, clock.monotonicMs())) await pace.turn();
  }
  return chunks;
}

/** Does one thing after the other, whatever becomes of those before. */
interface Runner {
  /** `work` is ended by its own signal, and by the runner's end. Rejects with the signal's reason at once. */
  inTurn<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  settled(): Promise<unknown>;
}

function createRunner(lifetime: AbortSignal): Runner {
  let last: Promise<unknown> = Promise.resolve();
  return {
    inTurn(parent, work) {
      const mine = last.then(async () => {
        using own = childController(parent);
        using _end = onAbort(lifetime, () => own.abort(lifetime.reason));
        if (own.signal.aborted) throw reasonOf(own.signal);
        return await work(own.signal);
      });
      last = mine.catch(() => undefined);
      return abandonOn(parent, mine);
    },
    settled: () => last,
  };
}

function onAbort(signal: AbortSignal, listener: () => void): Disposable {
  if (signal.aborted) listener();
  else signal.addEventListener('abort', listener, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', listener) };
}
