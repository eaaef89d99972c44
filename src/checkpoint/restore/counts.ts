import type { FileEntry } from '../format/entry.ts';

export interface RestoreProgress {
  readonly files: number;
  readonly filesTotal: number;
  /** Done, fetched or found on disk. */
  readonly bytes: number;
  readonly bytesTotal: number;
  readonly bytesFetched: number;
}

export type Counts = ReturnType<typeof createCounts>;

export function createCounts(
  totals: { readonly files: number; readonly bytes: number },
  onProgress: (progress: RestoreProgress) => void = () => undefined,
) {
  let files = 0;
  let filesKept = 0;
  let size = 0;
  let bytes = 0;
  let bytesFetched = 0;
  const tell = () =>
    onProgress({ files, filesTotal: totals.files, bytes, bytesTotal: totals.bytes, bytesFetched });
  return {
    bytesLeft: () => Math.max(0, totals.bytes - bytes),
    /** Of what was done, whatever the manifest says that there is. */
    result: () => ({ files, bytes: size, bytesFetched, filesKept }),
    addBytes(more: number, from: 'store' | 'disk') {
      bytes += more;
      if (from === 'store') bytesFetched += more;
      tell();
    },
    addFile(entry: FileEntry, how: 'fetched' | 'kept') {
      files++;
      size += entry.size;
      if (how === 'kept') filesKept++;
      tell();
    },
  };
}
