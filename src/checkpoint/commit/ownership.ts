import type { Clock } from '../../base/clock.ts';
import { EvictdError } from '../../base/errors.ts';
import type { PackName } from '../format/chunk.ts';
import type { Manifest, SetEntry, Takeover, Writer } from '../format/manifest.ts';
import { encodeSetEntry, encodeSetFormat, parseSetFormat, sha256Of } from '../format/manifest-json.ts';
import { FORMAT, type SetPlace, entryName, nextId, setPrefix } from '../format/names.ts';
import { type ListedEntry, listEntries, readEntry } from '../index/entries.ts';
import type { EntryPoint, LocalIndex } from '../index/local-index.ts';
import { createOnce } from '../store/create-once.ts';
import type { BlobStore } from '../store/store.ts';
import { keptPacks, readTreeRecords } from './adopt.ts';
import { conflict, storeWentBack, tookOver } from './commit-error.ts';

/**
 * Whose the set is. The store has one line of entries, by rising ids: checkpoints, and takeovers by which a writer says
 * that it goes on from there. Whoever wrote the newest entry owns the set.
 *
 * INVARIANTS
 * - Nothing is stored before a listing has shown a takeover of this epoch as the newest entry.
 * - Ids never go back, whatever was removed: a writer that was paused can't commit into the past.
 * - A running process never goes on from what another one wrote; a process that starts does, and says so.
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

export interface OwnershipOptions {
  readonly place: SetPlace;
  readonly writer: Writer;
  readonly process: string;
}

export interface OwnershipDependencies {
  readonly store: BlobStore;
  readonly index: LocalIndex;
  readonly clock: Clock;
  readonly onNote: (error: EvictdError) => void;
  /** Finds out which packs there are, and has the index forget the others. */
  readonly listPacks: (signal: AbortSignal) => Promise<void>;
}

interface Found {
  readonly entry: SetEntry;
  readonly point: EntryPoint;
}

const TAKEOVERS_MAX = 8;

export function createOwnership(
  { place, writer, process }: OwnershipOptions,
  { store, index, clock, onNote, listPacks }: OwnershipDependencies,
): Ownership {
  const prefix = setPrefix(place);
  let isBound = false;
  let isOwned = false;
  let newest: EntryPoint | null = null;
  let checkpoint: Manifest | undefined;
  /** No entry gets this id or a lower one. */
  let idMin: string | undefined;

  let isKept: (pack: PackName) => boolean = () => true;
  /** The newest entry as a listing showed it. */
  let listed: ListedEntry | undefined;

  const list = async (signal: AbortSignal) => (await listEntries(store, place, signal)).entries;
  const ids = async (signal: AbortSignal) => (await list(signal)).map(({ id }) => id);
  const find = async (id: string, signal: AbortSignal): Promise<Found> => {
    const { entry, sha256 } = await readEntry(store, place, id, signal);
    return { entry, point: { id, sha256 } };
  };
  const setNewest = (point: EntryPoint | null) => {
    newest = point;
    if (point !== null && (idMin === undefined || point.id > idMin)) idMin = point.id;
  };

  /** The newest checkpoint at or below an entry, which may be a takeover. A checkpoint that can't be read is none. */
  const newestCheckpoint = async (
    all: readonly string[],
    signal: AbortSignal,
  ): Promise<Found | undefined> => {
    for (const id of all.toReversed()) {
      try {
        const found = await find(id, signal);
        if (found.entry.kind === 'checkpoint') return found;
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        onNote(error);
        if (error.code === 'manifest-version') throw error;
      }
    }
    return undefined;
  };

  /** Goes on from what an earlier life or somebody else left: everything is compared with it, nothing is trusted. */
  const adopt = async (all: readonly string[], last: Found | undefined, signal: AbortSignal) => {
    const found = await newestCheckpoint(all, signal);
    const manifest = found?.entry.kind === 'checkpoint' ? found.entry : undefined;
    const format = manifest ?? (await readFormat(store, prefix, onNote, signal)) ?? index;
    const files = await readTreeRecords(manifest, { store, prefix, onNote }, signal);
    index.restart(last?.point ?? null, format, files);
    isKept = () => true;
    checkpoint = manifest;
    isOwned = false;
    setNewest(last?.point ?? null);
  };

  const bindNow = async (signal: AbortSignal) => {
    const all = await ids(signal);
    const lastId = all.at(-1);
    const known = index.base;
    if (known !== null && known.id > (idMin ?? '')) idMin = known.id;
    const last = lastId === undefined ? undefined : await findOrNote(lastId, signal);
    const isOurs = last !== undefined && last.entry.epoch === index.epoch;
    if (isOurs && last.point.id === known?.id && last.point.sha256 === known.sha256) {
      isOwned = true;
      setNewest(last.point);
      const found = last.entry.kind === 'checkpoint' ? last : await newestCheckpoint(all, signal);
      checkpoint = found?.entry.kind === 'checkpoint' ? found.entry : undefined;
      return;
    }
    if (isOurs && last.entry.kind === 'checkpoint' && index.tries(last.point.id).has(last.point.sha256)) {
      // Its answer never came: it is a checkpoint of ours all the same.
      await arrived(last.point, last.entry, signal);
      isOwned = true;
      return;
    }
    if (known !== null && (lastId ?? '') < known.id) onNote(storeWentBack(place.set, known.id, lastId));
    if (last !== undefined && last.entry.writer.vmId !== writer.vmId && !saidGoodbye(last.entry)) {
      onNote(tookOver(place.set, last.entry, clock.wallMs()));
    }
    await adopt(all, last, signal);
    // An entry that can't be read has its id all the same.
    if (lastId !== undefined && lastId > (idMin ?? '')) idMin = lastId;
  };

  const arrived = async (point: EntryPoint, manifest: Manifest, signal: AbortSignal) => {
    isKept = await keptPacks(manifest, index.epoch, { store, prefix, onNote }, signal);
    setNewest(point);
    checkpoint = manifest;
    await index.rebase(point, new Map(), { file: () => true, pack: isKept });
  };

  const findOrNote = async (id: string, signal: AbortSignal): Promise<Found | undefined> => {
    try {
      return await find(id, signal);
    } catch (error) {
      if (!isUnreadable(error) || error.code === 'manifest-version') throw error;
      onNote(error);
      return undefined;
    }
  };

  const leaveFormat = async (signal: AbortSignal) => {
    const body = encodeSetFormat({ hash: index.hash, cut: index.cut });
    const { outcome } = await createOnce(store, prefix + FORMAT, body, JSON_TYPE, signal);
    if (outcome !== 'other') return;
    const format = await readFormat(store, prefix, onNote, signal);
    if (format !== undefined && format.hash.key !== index.hash.key) index.restart(null, format, new Map());
  };

  const takeOverNow = async (signal: AbortSignal) => {
    for (let tries = 0; tries < TAKEOVERS_MAX; tries++) {
      if (newest === null) await leaveFormat(signal);
      const takeover: Takeover = {
        kind: 'takeover',
        id: nextId(idMin),
        key: place.key,
        set: place.set,
        parent: newest,
        epoch: index.epoch,
        process,
        writer,
        createdAt: new Date(clock.wallMs()).toISOString(),
        adopts: null,
      };
      const body = encodeSetEntry(takeover);
      const point = { id: takeover.id, sha256: sha256Of(body) };
      const { outcome } = await createOnce(store, prefix + entryName(point.id), body, JSON_TYPE, signal);
      const all = await ids(signal);
      if (outcome !== 'other' && all.at(-1) === point.id) {
        await index.rebase(point, new Map(), { file: () => true, pack: () => true });
        isOwned = true;
        setNewest(point);
        return;
      }
      // Somebody was quicker. At a start we go on from that; whoever does that last has the set.
      const lastId = all.at(-1);
      if (lastId !== undefined && lastId > (idMin ?? '')) idMin = lastId;
      await adopt(all, lastId === undefined ? undefined : await findOrNote(lastId, signal), signal);
      // What that one names may have come after they were listed.
      await listPacks(signal);
    }
    throw new EvictdError('busy-set', `other writers go on taking ${place.set} over`, {
      remedy: 'give each VM its own checkpoint.key',
    });
  };

  return {
    get checkpoint() {
      return checkpoint;
    },
    get newest() {
      return newest;
    },
    get isBound() {
      return isBound;
    },
    nextId: () => nextId(idMin),
    async bind(signal) {
      if (isBound) return;
      await bindNow(signal);
      isBound = true;
    },
    async takeOver(signal) {
      if (!isOwned) await takeOverNow(signal);
    },
    async check(signal) {
      const last = (await list(signal)).at(-1);
      const lastId = last?.id;
      if (lastId === undefined && newest === null) return;
      if (last !== undefined && last.id === newest?.id) {
        // After a failover to an older state somebody else may have written what has the same id.
        const isNew = listed?.id !== last.id;
        const isSame = last.modifiedAt === listed?.modifiedAt && last.bytes === listed.bytes;
        if (isNew || isSame || (await find(last.id, signal)).point.sha256 === newest.sha256) {
          listed = last;
          return;
        }
      }
      if ((lastId ?? '') > (newest?.id ?? '')) {
        const found = lastId === undefined ? undefined : await find(lastId, signal);
        const isTry = found !== undefined && index.tries(found.point.id).has(found.point.sha256);
        if (isTry && found.entry.kind === 'checkpoint') {
          await arrived(found.point, found.entry, signal);
          return;
        }
        if (!isOwned) {
          // Nothing of ours depends on what was there before.
          isBound = false;
          throw new EvictdError('overtaken', `${place.set} has a newer entry ${lastId} by now`, {
            remedy: 'nothing is lost; the next attempt goes on from that',
          });
        }
        if (found !== undefined) throw conflict(place.set, found.entry);
      }
      isBound = false;
      throw storeWentBack(place.set, newest?.id ?? 'none', lastId);
    },
    arrived,
    isKept: (pack) => isKept(pack),
    moved(point, made) {
      isKept = () => true;
      setNewest(point);
      checkpoint = made ?? checkpoint;
    },
  };
}

const JSON_TYPE = { contentType: 'application/json' } as const;

/** A writer whose VM was about to end, and said so. */
function saidGoodbye(entry: SetEntry): boolean {
  return entry.kind === 'checkpoint' && (entry.reason === 'notice' || entry.reason === 'shutdown');
}

function isUnreadable(error: unknown): error is EvictdError {
  return (
    error instanceof EvictdError &&
    ['bad-manifest', 'manifest-version', 'not-found', 'archived', 'too-large'].includes(error.code)
  );
}

async function readFormat(
  store: BlobStore,
  prefix: string,
  onNote: (error: EvictdError) => void,
  signal: AbortSignal,
) {
  try {
    return parseSetFormat(await store.read(prefix + FORMAT, { bytesMax: 4096 }, signal), prefix + FORMAT);
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    if (error.code === 'not-found') return undefined;
    if (!['bad-format', 'too-large', 'archived'].includes(error.code)) throw error;
    onNote(error);
    return undefined;
  }
}
