import { EvictdError } from '../../../base/errors.ts';
import type { SetEntry, SetFormat } from '../../format/manifest.ts';
import { encodeSetFormat, parseSetFormat } from '../../format/manifest-json.ts';
import { FORMAT, type SetPlace, setPrefix } from '../../format/names.ts';
import { type ListedEntry, listEntries, readEntry } from '../../index/entries.ts';
import type { EntryPoint } from '../../index/local-index.ts';
import { createOnce } from '../../store/create-once.ts';
import type { BlobStore } from '../../store/store.ts';

/** An entry that was read. */
export interface FoundEntry {
  readonly entry: SetEntry;
  readonly point: EntryPoint;
}

/** The entries of a set, and what its writers have in common, as the store has them. All reject with the store's errors. */
export interface SetEntries {
  /** The oldest first. */
  list(signal: AbortSignal): Promise<readonly ListedEntry[]>;
  /** Rejects `bad-manifest`, `manifest-version`, `not-found` too. */
  find(id: string, signal: AbortSignal): Promise<FoundEntry>;
  /** Undefined: it can't be read, and that was told. Rejects `manifest-version`. */
  findReadable(id: string, signal: AbortSignal): Promise<FoundEntry | undefined>;
  /** The newest checkpoint of these; takeovers are looked through, what can't be read is passed over. */
  newestCheckpoint(ids: readonly string[], signal: AbortSignal): Promise<FoundEntry | undefined>;
  /** Undefined: there is none that can be read. */
  format(signal: AbortSignal): Promise<SetFormat | undefined>;
  /** Leaves `own`, and answers what is there then: another writer's, where that was quicker. */
  leaveFormat(own: SetFormat, signal: AbortSignal): Promise<SetFormat | undefined>;
}

export const JSON_TYPE = { contentType: 'application/json' } as const;
const FORMAT_BYTES_MAX = 4096;
const UNREADABLE = new Set(['bad-manifest', 'not-found', 'archived', 'too-large']);
const UNREADABLE_FORMAT = new Set(['bad-format', 'archived', 'too-large']);

export function createSetEntries(
  place: SetPlace,
  { store, onNote }: { readonly store: BlobStore; readonly onNote: (error: EvictdError) => void },
): SetEntries {
  const name = setPrefix(place) + FORMAT;
  const find = async (id: string, signal: AbortSignal): Promise<FoundEntry> => {
    const { entry, sha256 } = await readEntry(store, place, id, signal);
    return { entry, point: { id, sha256 } };
  };
  const findReadable = async (id: string, signal: AbortSignal) => {
    try {
      return await find(id, signal);
    } catch (error) {
      if (!(error instanceof EvictdError) || !UNREADABLE.has(error.code)) throw error;
      onNote(error);
      return undefined;
    }
  };
  const format = async (signal: AbortSignal) => {
    try {
      return parseSetFormat(await store.read(name, { bytesMax: FORMAT_BYTES_MAX }, signal), name);
    } catch (error) {
      if (!(error instanceof EvictdError)) throw error;
      if (error.code === 'not-found') return undefined;
      if (!UNREADABLE_FORMAT.has(error.code)) throw error;
      onNote(error);
      return undefined;
    }
  };
  return {
    list: async (signal) => (await listEntries(store, place, signal)).entries,
    find,
    findReadable,
    async newestCheckpoint(ids, signal) {
      for (const id of ids.toReversed()) {
        const found = await findReadable(id, signal);
        if (found?.entry.kind === 'checkpoint') return found;
      }
      return undefined;
    },
    format,
    async leaveFormat(own, signal) {
      const { outcome } = await createOnce(store, name, encodeSetFormat(own), JSON_TYPE, signal);
      return outcome === 'other' ? await format(signal) : own;
    },
  };
}
