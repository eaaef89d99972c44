import { EvictdError } from '../../base/errors.ts';
import type { BlobItem, BlobPage, BlobStore } from './store.ts';

/** 8 TiB in packs of 8 MiB, 64 TiB in those of such a set; a listing that goes on is made up. */
const BLOBS_MAX = 1_000_000;
const PAGES_MAX = 20_000;
/** Far more than a fleet has. */
export const FOLDERS_MAX = 100_000;
const FOLDER_PAGES_MAX = 1000;

/** All blobs below `prefix`, in the order of their names. Rejects as `listPages` does. */
export async function* listAll(
  store: Pick<BlobStore, 'list'>,
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<BlobItem> {
  for await (const { items } of listPages(store, prefix, signal)) yield* items;
}

/**
 * The same page by page, with the server's time of each. Names strictly rise over all pages, all of them are below
 * `prefix`, no page is asked for twice, and there are at most `blobsMax`: what deletes by a listing must not act on one
 * that went astray.
 * Rejects with what `list` rejects with, or `bad-answer`.
 */
export async function* listPages(
  store: Pick<BlobStore, 'list'>,
  prefix: string,
  signal: AbortSignal,
  blobsMax = BLOBS_MAX,
): AsyncGenerator<BlobPage> {
  const asked = new Set<string>();
  let blobs = 0;
  let from: string | undefined;
  let last = '';
  for (let pages = 1; ; pages++) {
    const page = await store.list(prefix, from === undefined ? {} : { from }, signal);
    for (const { name } of page.items) {
      if (!name.startsWith(prefix)) throw astray(prefix, `holds ${JSON.stringify(name)}`);
      if (last !== '' && !isAfter(name, last))
        throw astray(prefix, `has ${JSON.stringify(name)} after ${JSON.stringify(last)}`);
      last = name;
    }
    blobs += page.items.length;
    if (blobs > blobsMax) throw astray(prefix, `has more than ${blobsMax}`);
    yield page;
    from = page.next;
    if (from === undefined) return;
    if (asked.has(from)) throw astray(prefix, 'comes back to where it was');
    if (pages >= PAGES_MAX) throw astray(prefix, `goes on after ${PAGES_MAX} pages`);
    asked.add(from);
  }
}

/** Names of the folders right below `folder`, each with a slash at its end. Rejects as `listPages` does. */
export async function listFolders(
  store: Pick<BlobStore, 'folders'>,
  folder: string,
  signal: AbortSignal,
): Promise<string[]> {
  const found = new Set<string>();
  let from: string | undefined;
  for (let pages = 1; pages <= FOLDER_PAGES_MAX && found.size <= FOLDERS_MAX; pages++) {
    const { names, next } = await store.folders(folder, from === undefined ? {} : { from }, signal);
    for (const name of names) if (name.startsWith(folder)) found.add(name.slice(folder.length));
    if (next === undefined) return [...found];
    from = next;
  }
  throw astray(folder, 'has no end');
}

/**
 * By bytes, by UTF-16 units, or by bytes with the slash lowest: flat accounts, emulators and hierarchical accounts differ
 * in this. Below one folder, with the names that we give, it is all the same.
 */
function isAfter(name: string, last: string): boolean {
  if (name === last) return false;
  if (name > last || Buffer.compare(Buffer.from(name), Buffer.from(last)) > 0) return true;
  return name.replaceAll('/', '\0') > last.replaceAll('/', '\0');
}

/** Of a listing that can't be true. */
export function astray(prefix: string, how: string): EvictdError {
  return new EvictdError('bad-answer', `the listing of blobs below ${JSON.stringify(prefix)} ${how}`, {
    remedy: 'check whether something stands between this machine and the storage account',
  });
}
