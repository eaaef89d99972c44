import { EvictdError } from '../../base/errors.ts';
import type { BlobStore } from '../store/store.ts';

/** Far more than a fleet has; a listing that goes on is made up. */
export const FOLDERS_MAX = 100_000;
const PAGES_MAX = 1000;

/** Names of the folders right below `folder`, each with a slash at its end. Rejects `bad-answer`, or as the store does. */
export async function foldersBelow(
  store: Pick<BlobStore, 'folders'>,
  folder: string,
  signal: AbortSignal,
): Promise<string[]> {
  const found = new Set<string>();
  let from: string | undefined;
  for (let pages = 1; pages <= PAGES_MAX && found.size <= FOLDERS_MAX; pages++) {
    const { names, next } = await store.folders(folder, from === undefined ? {} : { from }, signal);
    for (const name of names) if (name.startsWith(folder)) found.add(name.slice(folder.length));
    if (next === undefined) return [...found];
    from = next;
  }
  throw endlessFolders(folder);
}

export function endlessFolders(folder: string): EvictdError {
  return new EvictdError('bad-answer', `the listing of folders below ${JSON.stringify(folder)} has no end`, {
    remedy: 'check whether something stands between this machine and the storage account',
  });
}
