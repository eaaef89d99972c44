import { type EvictdError, hasCode } from '../../base/errors.ts';
import type { SetEntry } from '../format/manifest.ts';
import { SET_ENTRY_BYTES_MAX, parseSetEntry, sha256Of } from '../format/manifest-json.ts';
import { CHECKPOINTS, type SetPlace, entryName, idOfEntryName, setPrefix } from '../format/names.ts';
import { listPages } from '../store/list-all.ts';
import type { BlobStore } from '../store/store.ts';

/** An entry's blob as a listing shows it. */
export interface ListedEntry {
  readonly id: string;
  readonly bytes: number;
  /** Epoch ms by the server's clock. */
  readonly modifiedAt: number;
}

export interface ListedEntries {
  /** The oldest first. Names that aren't ours are left out. */
  readonly entries: readonly ListedEntry[];
  /** When the last page of the listing was made, epoch ms by the server's clock. */
  readonly serverMs: number;
}

/** One each ten minutes for almost four years, none of them removed; more is a listing that makes names up. */
const ENTRIES_MAX = 200_000;

/** The entries of a set. Rejects `bad-answer`, or with what the store rejects with. */
export async function listEntries(
  store: Pick<BlobStore, 'list'>,
  place: SetPlace,
  signal: AbortSignal,
): Promise<ListedEntries> {
  const prefix = setPrefix(place);
  const entries: ListedEntry[] = [];
  let serverMs = 0;
  for await (const page of listPages(store, prefix + CHECKPOINTS, signal, ENTRIES_MAX)) {
    serverMs = page.serverMs;
    for (const { name, bytes, modifiedAt } of page.items) {
      const id = idOfEntryName(name.slice(prefix.length));
      if (id !== undefined) entries.push({ id, bytes, modifiedAt });
    }
  }
  return { entries, serverMs };
}

export interface ReadEntry {
  readonly entry: SetEntry;
  /** Of the blob, in hex. */
  readonly sha256: string;
  readonly bytes: number;
}

/** Rejects `bad-manifest`, `manifest-version`, or with what the store rejects with: `not-found`, `archived`, `too-large`. */
export async function readEntry(
  store: Pick<BlobStore, 'read'>,
  place: SetPlace,
  id: string,
  signal: AbortSignal,
): Promise<ReadEntry> {
  const name = setPrefix(place) + entryName(id);
  const body = await store.read(name, { bytesMax: SET_ENTRY_BYTES_MAX }, signal);
  const entry = parseSetEntry(body, name, { set: place.set, id });
  return { entry, sha256: sha256Of(body), bytes: body.length };
}

/** The same; undefined when it isn't there: pruned since it was listed, or taken back by its writer. */
export async function readEntryIfThere(
  store: Pick<BlobStore, 'read'>,
  place: SetPlace,
  id: string,
  signal: AbortSignal,
): Promise<ReadEntry | undefined> {
  try {
    return await readEntry(store, place, id, signal);
  } catch (error) {
    if (hasCode(error, 'not-found')) return undefined;
    throw error;
  }
}

/** What an entry, or a piece of its tree or tables, is rejected with that can't be used although the store answers. */
export function isUnusable(error: unknown): error is EvictdError {
  return hasCode(
    error,
    'bad-manifest',
    'manifest-version',
    'bad-tree',
    'checkpoint-gone',
    'archived',
    'too-large',
    'bad-answer',
  );
}
