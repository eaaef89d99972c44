import type { Clock, MonotonicMs } from '../../../base/clock.ts';
import type { PackName, StoredChunk } from '../../format/chunk.ts';
import { listPacks } from '../../index/list-packs.ts';
import type { BlobStore } from '../../store/store.ts';

/** The packs of a set that are in the store, as they were last listed, with those that were stored since. */
export interface PackList {
  /** Bytes of a pack that is there and can be read. */
  bytesOf(name: PackName): number | undefined;
  /** It is in a pack that is there, and long enough. */
  has(chunk: Place): boolean;
  /** It has just been stored by this process. */
  add(name: PackName, bytes: number): void;
  /** Since it was listed; infinite: it never was. */
  readonly ageMs: number;
  /** What the store has may be something else by now. */
  forget(): void;
  /** Lists anew. Rejects with what the store rejects with. */
  refresh(signal: AbortSignal): Promise<void>;
}

type Place = Pick<StoredChunk, 'pack' | 'offset' | 'stored'>;

/** `packPrefix`: `PREFIX/KEY/sets/SET/packs/`. */
export function createPackList(
  packPrefix: string,
  { store, clock }: { readonly store: BlobStore; readonly clock: Clock },
): PackList {
  let listed = new Map<PackName, number>();
  let added = new Map<PackName, { readonly bytes: number; readonly at: MonotonicMs }>();
  let listedAt = { monotonic: -Infinity, wall: -Infinity };
  const bytesOf = (name: PackName) => added.get(name)?.bytes ?? listed.get(name);
  return {
    bytesOf,
    has: ({ pack, offset, stored }) => offset + stored <= (bytesOf(pack) ?? -1),
    add: (name, bytes) => void added.set(name, { bytes, at: clock.monotonicMs() }),
    get ageMs() {
      // A machine that sleeps has no monotonic time meanwhile.
      return Math.max(clock.monotonicMs() - listedAt.monotonic, clock.wallMs() - listedAt.wall);
    },
    forget() {
      listed = new Map();
      added = new Map();
      listedAt = { monotonic: -Infinity, wall: -Infinity };
    },
    async refresh(signal) {
      const beganAt = clock.monotonicMs();
      const wallMs = clock.wallMs();
      const found = new Map<PackName, number>();
      for (const [name, { bytes, isArchived }] of await listPacks(store, packPrefix, signal)) {
        if (!isArchived) found.set(name, bytes);
      }
      listed = found;
      listedAt = { monotonic: beganAt, wall: wallMs };
      // What was stored before the listing began has to be in it.
      added = new Map([...added].filter(([, { at }]) => at >= beganAt));
    },
  };
}
