import { EvictdError } from '../../../base/errors.ts';
import type { PackName } from '../../format/chunk.ts';
import type { Manifest } from '../../format/manifest.ts';
import { nextId, setPrefix } from '../../format/names.ts';
import type { EntryPoint } from '../../index/local-index.ts';
import { conflict, storeWentBack } from '../commit-error.ts';
import { createSetEntries } from './set-entries.ts';
import { type Held, type OwnershipContext, arrive, bindIndex, setNewest, takeOverSet } from './take-over.ts';

/**
 * Whose the set is. The store has one line of entries, by rising ids: checkpoints, and takeovers by which a writer says
 * that it goes on from there. Whoever wrote the newest entry owns the set.
 *
 * INVARIANTS
 * - Nothing is stored before a listing has shown a takeover of this epoch as the newest entry.
 * - Ids never go back, whatever was removed: a writer that was paused can't commit into the past.
 * - A running process never goes on from what another one wrote, until it is told to; one that starts does, and says so.
 */
export interface Ownership {
  /** The newest checkpoint that the index is bound to, where it can be read. */
  readonly checkpoint: Manifest | undefined;
  /** The newest entry of the set, as this process knows it. */
  readonly newest: EntryPoint | null;
  /** The index is bound to what the store has; a store that went back to an older state undoes that. */
  readonly isBound: boolean;
  /** The id that the next entry gets. */
  nextId(): string;
  /** Binds the index to what the store has, once. Rejects with what the store rejects with. */
  bind(signal: AbortSignal): Promise<void>;
  /** Whatever another writer wrote, the next `bind` goes on from that. */
  release(): void;
  /** Before the first write: makes the set this epoch's. Rejects `conflict`. */
  takeOver(signal: AbortSignal): Promise<void>;
  /** Lists the entries: rejects `conflict` when somebody else has written, `store-went-back` when ours is gone. */
  check(signal: AbortSignal): Promise<void>;
  /** A checkpoint of ours is the newest, which we had given up. Rejects with what the store rejects with. */
  arrived(point: EntryPoint, manifest: Manifest, signal: AbortSignal): Promise<void>;
  /** Whether a pack that the index has, or had, stays whatever is pruned. */
  isKept(pack: PackName): boolean;
  /** An entry of ours is the newest now. */
  moved(point: EntryPoint, checkpoint: Manifest | undefined): void;
}

export type OwnershipOptions = Pick<OwnershipContext, 'place' | 'writer' | 'process'>;
export type OwnershipDependencies = Pick<
  OwnershipContext,
  'store' | 'index' | 'clock' | 'onNote' | 'listPacks' | 'newCut'
>;

/** Below all ids. */
const NO_ID = '';

export function createOwnership(options: OwnershipOptions, dependencies: OwnershipDependencies): Ownership {
  const held: Held = {
    isBound: false,
    isOwned: false,
    newest: null,
    checkpoint: undefined,
    idMin: NO_ID,
    isKept: () => true,
    adopts: null,
    listed: undefined,
  };
  const entries = createSetEntries(options.place, dependencies);
  const context = { ...options, ...dependencies, prefix: setPrefix(options.place), entries, held };
  return {
    get checkpoint() {
      return held.checkpoint;
    },
    get newest() {
      return held.newest;
    },
    get isBound() {
      return held.isBound;
    },
    nextId: () => nextId(held.idMin),
    async bind(signal) {
      if (held.isBound) return;
      await bindIndex(context, signal);
      held.isBound = true;
    },
    release() {
      held.isBound = false;
      held.isOwned = false;
    },
    async takeOver(signal) {
      if (!held.isOwned) await takeOverSet(context, signal);
    },
    check: (signal) => check(context, signal),
    arrived: (point, manifest, signal) => arrive(context, point, manifest, signal),
    isKept: (pack) => held.isKept(pack),
    moved(point, made) {
      held.isKept = () => true;
      setNewest(context, point);
      held.checkpoint = made ?? held.checkpoint;
    },
  };
}

async function check(context: OwnershipContext, signal: AbortSignal): Promise<void> {
  const { place, entries, index, held } = context;
  const { newest, listed } = held;
  const last = (await entries.list(signal)).at(-1);
  if (last === undefined && newest === null) return;
  if (last !== undefined && last.id === newest?.id) {
    // After a failover to an older state somebody else may have written what has the same id.
    const isNew = listed?.id !== last.id;
    const isSame = last.modifiedAt === listed?.modifiedAt && last.bytes === listed.bytes;
    if (isNew || isSame || (await entries.find(last.id, signal)).point.sha256 === newest.sha256) {
      held.listed = last;
      return;
    }
  }
  if (last !== undefined && last.id > (newest?.id ?? NO_ID)) {
    const { entry, point } = await entries.find(last.id, signal);
    if (entry.kind === 'checkpoint' && index.tries(point.id).has(point.sha256)) {
      await arrive(context, point, entry, signal);
      return;
    }
    if (held.isOwned) throw conflict(place.set, entry);
    // Nothing of ours depends on what was there before.
    held.isBound = false;
    throw new EvictdError('overtaken', `${place.set} has a newer entry ${last.id} by now`, {
      remedy: 'nothing is lost; the next attempt goes on from that',
    });
  }
  held.isBound = false;
  throw storeWentBack(place.set, newest?.id ?? 'none', last?.id);
}
