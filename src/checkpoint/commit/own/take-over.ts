import type { EvictdError } from '../../../base/errors.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Cut, PackName } from '../../format/chunk.ts';
import type { Manifest, SetEntry, SetFormat, Takeover, Writer } from '../../format/manifest.ts';
import { encodeSetEntry, sha256Of } from '../../format/manifest-json.ts';
import { type SetPlace, entryName, nextId } from '../../format/names.ts';
import type { ListedEntry } from '../../index/entries.ts';
import type { EntryPoint, LocalIndex } from '../../index/local-index.ts';
import { createOnce } from '../../store/create-once.ts';
import type { BlobStore } from '../../store/store.ts';
import { adoptStaged, keepSeen, keptPacks, readTreeRecords } from './adopt.ts';
import { busySet, storeWentBack, tookOver } from '../commit-error.ts';
import { type FoundEntry, type SetEntries, JSON_TYPE } from './set-entries.ts';

/** What this process knows of whose the set is. */
export interface Held {
  isBound: boolean;
  /** The newest entry is of this epoch. */
  isOwned: boolean;
  newest: EntryPoint | null;
  checkpoint: Manifest | undefined;
  /** No entry gets this id or a lower one. */
  idMin: string;
  isKept: (pack: PackName) => boolean;
  /** What the next takeover goes on from, besides its parent. */
  adopts: Takeover['adopts'];
  /** The newest entry as a listing showed it. */
  listed: ListedEntry | undefined;
}

export interface OwnershipContext {
  readonly place: SetPlace;
  /** `PREFIX/KEY/sets/SET/`. */
  readonly prefix: string;
  readonly writer: Writer;
  readonly process: string;
  readonly store: BlobStore;
  readonly entries: SetEntries;
  readonly index: LocalIndex;
  readonly clock: Clock;
  readonly onNote: (error: EvictdError) => void;
  /** Finds out which packs there are, and has the index forget the others. */
  readonly listPacks: (signal: AbortSignal) => Promise<void>;
  /** For a set that nobody has written yet. */
  readonly newCut: () => Cut;
  readonly held: Held;
}

const TAKEOVERS_MAX = 8;

export function setNewest({ held }: OwnershipContext, point: EntryPoint | null): void {
  held.newest = point;
  raiseIds(held, point?.id);
}

/** An entry that can't be read has its id all the same. */
function raiseIds(held: Held, id: string | undefined): void {
  if (id !== undefined && id > held.idMin) held.idMin = id;
}

/** Binds the index to what the store has. Rejects with what the store rejects with. */
export async function bindIndex(context: OwnershipContext, signal: AbortSignal): Promise<void> {
  const { entries, index, place, writer, clock, onNote, held } = context;
  const ids = (await entries.list(signal)).map(({ id }) => id);
  const lastId = ids.at(-1);
  const known = index.base;
  raiseIds(held, known?.id);
  const last = lastId === undefined ? undefined : await entries.findReadable(lastId, signal);
  if (last?.entry.epoch === index.epoch) {
    const { entry, point } = last;
    if (point.id === known?.id && point.sha256 === known.sha256) {
      held.isOwned = true;
      setNewest(context, point);
      held.checkpoint = checkpointOf(
        entry.kind === 'checkpoint' ? last : await entries.newestCheckpoint(ids, signal),
      );
      return;
    }
    if (entry.kind === 'checkpoint' && index.tries(point.id).has(point.sha256)) {
      // Its answer never came: it is a checkpoint of ours all the same.
      await arrive(context, point, entry, signal);
      held.isOwned = true;
      return;
    }
  }
  if (known !== null && (lastId ?? '') < known.id) onNote(storeWentBack(place.set, known.id, lastId));
  if (last !== undefined && last.entry.writer.vmId !== writer.vmId && !saidGoodbye(last.entry)) {
    onNote(tookOver(place.set, last.entry, clock.wallMs()));
  }
  await adopt(context, ids, last, signal);
}

/**
 * Goes on from what an earlier life or somebody else left: everything is compared with it. Nothing is trusted but what
 * this boot has read or restored of a file, where that is what the checkpoint has, too.
 */
async function adopt(
  context: OwnershipContext,
  ids: readonly string[],
  last: FoundEntry | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { entries, index, held } = context;
  const manifest = checkpointOf(await entries.newestCheckpoint(ids, signal));
  const format = manifest ?? (await entries.format(signal)) ?? index;
  const files = await readTreeRecords(manifest, context, signal);
  const isComparable = ({ hash }: Pick<LocalIndex, 'hash'>) =>
    hash.name === format.hash.name && hash.key === format.hash.key;
  if (isComparable(index)) await keepSeen(files, index.files);
  const former = index.former();
  const isOfUse = last !== undefined && former !== undefined && isComparable(former);
  held.adopts = isOfUse
    ? await adoptStaged(files, { newest: last.entry, checkpoint: manifest }, former)
    : null;
  index.restart(last?.point ?? null, format, files);
  held.isKept = () => true;
  held.checkpoint = manifest;
  held.isOwned = false;
  setNewest(context, last?.point ?? null);
  raiseIds(held, ids.at(-1));
}

/** A checkpoint of ours is the newest, which we had given up. Rejects with what the store rejects with. */
export async function arrive(
  context: OwnershipContext,
  point: EntryPoint,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<void> {
  const { index, held } = context;
  held.isKept = await keptPacks(manifest, index.epoch, context, signal);
  setNewest(context, point);
  held.checkpoint = manifest;
  await index.rebase(point, new Map(), { file: () => true, pack: held.isKept });
}

/**
 * Writes a takeover, until a listing made after it shows it as the newest entry. Somebody who was quicker at that is gone
 * on from: whoever does that last has the set. Rejects `busy-set`, or with what the store rejects with.
 */
export async function takeOverSet(context: OwnershipContext, signal: AbortSignal): Promise<void> {
  const { entries, index, store, prefix, place, held, listPacks, newCut } = context;
  for (let tries = 0; tries < TAKEOVERS_MAX; tries++) {
    if (held.newest === null) {
      const format = await entries.leaveFormat({ hash: index.hash, cut: newCut() }, signal);
      if (format !== undefined && !isFormatOf(index, format)) index.restart(null, format, new Map());
    }
    const takeover = takeoverOf(context);
    const body = encodeSetEntry(takeover);
    const point = { id: takeover.id, sha256: sha256Of(body) };
    const { outcome } = await createOnce(store, prefix + entryName(point.id), body, JSON_TYPE, signal);
    const ids = (await entries.list(signal)).map(({ id }) => id);
    const lastId = ids.at(-1);
    if (outcome !== 'other' && lastId === point.id) {
      await index.rebase(point, new Map(), { file: () => true, pack: () => true });
      held.isOwned = true;
      setNewest(context, point);
      return;
    }
    raiseIds(held, lastId);
    await adopt(
      context,
      ids,
      lastId === undefined ? undefined : await entries.findReadable(lastId, signal),
      signal,
    );
    // What that one names may have come after they were listed.
    await listPacks(signal);
  }
  throw busySet(place.set);
}

function isFormatOf({ hash, cut }: LocalIndex, format: SetFormat): boolean {
  return hash.key === format.hash.key && cut.chunkBytes === format.cut.chunkBytes;
}

function takeoverOf({ place, index, process, writer, clock, held }: OwnershipContext): Takeover {
  return {
    kind: 'takeover',
    id: nextId(held.idMin),
    key: place.key,
    set: place.set,
    parent: held.newest,
    epoch: index.epoch,
    process,
    writer,
    createdAt: new Date(clock.wallMs()).toISOString(),
    adopts: held.adopts,
  };
}

function checkpointOf(found: FoundEntry | undefined): Manifest | undefined {
  return found?.entry.kind === 'checkpoint' ? found.entry : undefined;
}

/** A writer whose VM was about to end, and said so. */
function saidGoodbye(entry: SetEntry): boolean {
  return entry.kind === 'checkpoint' && (entry.reason === 'notice' || entry.reason === 'shutdown');
}
