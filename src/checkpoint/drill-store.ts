import { hash } from 'node:crypto';

import { forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { DRILL, keyPrefix } from './blob-name.ts';
import { BLOCK_ID_BYTES } from './block-id.ts';
import type { BlobStore, BlockList, StoredBlock, WriteCondition, WriteOptions, Written } from './store.ts';

interface Place {
  readonly prefix: string;
  readonly key: string;
}

/** What the rehearsal has written in place of one blob. */
interface Copy {
  readonly name: string;
  /** Undefined while there are only staged blocks. */
  etag: string | undefined;
  /** Of the blob that it stands for. */
  blocks: readonly string[];
  readonly sent: Map<string, number>;
}

const WRITE_EMPTY: WriteOptions = {
  condition: { ifNone: true },
  metadata: {},
  contentType: 'application/octet-stream',
};

/** Nothing but rehearsals is ever below this. */
export function drillPrefix({ prefix, key }: Place): string {
  return keyPrefix({ prefix, key: `drill/${key}` }) + DRILL;
}

/**
 * `store` as a commit of a rehearsal sees it. It asks the real place what is there, so that exactly the blocks are sent
 * that a notice would have to move now; what it writes goes below `drillPrefix`, so that nothing real is touched. A blob
 * of the rehearsal holds only the blocks that were sent for it, all else costs the same requests and bytes.
 */
export function createDrillStore(place: Place, { store }: { readonly store: BlobStore }): BlobStore {
  const from = keyPrefix(place);
  const to = drillPrefix(place);
  const copies = new Map<string, Copy>();
  const together = store.putTogether?.bind(store);

  function copyOf(name: string): Copy {
    const known = copies.get(name);
    if (known !== undefined) return known;
    if (!name.startsWith(from)) {
      throw new EvictdError('refused', `a rehearsal must not write ${name}, which is not below ${from}`);
    }
    const copy = { name: to + shortened(name, from, to), etag: undefined, blocks: [], sent: new Map() };
    copies.set(name, copy);
    return copy;
  }
  /** Where what was last written under that name is. */
  const placeOf = (name: string): string => {
    const copy = copies.get(name);
    return copy?.etag === undefined ? name : copy.name;
  };

  return {
    describe: store.describe,
    list: (prefix, signal, options) => store.list(prefix, signal, options),
    read: (name, options, signal) => store.read(placeOf(name), options, signal),
    download: (name, options, signal) => store.download(placeOf(name), options, signal),
    head: (name, signal) => store.head(placeOf(name), signal),
    blocks: async (name, signal) => merged(await store.blocks(name, signal), copies.get(name)),
    async stageBlock(name, id, body, signal) {
      const copy = copyOf(name);
      await store.stageBlock(copy.name, id, body, signal);
      copy.sent.set(id, body.length);
    },
    async commitBlocks(name, ids, write, signal) {
      const copy = copyOf(name);
      const own = ids.filter((id) => copy.sent.has(id));
      return keep(copy, await store.commitBlocks(copy.name, own, conditioned(copy, write), signal), ids);
    },
    async put(name, body, write, signal) {
      const copy = copyOf(name);
      return keep(copy, await putOver(store, copy, body, conditioned(copy, write), signal), []);
    },
    ...(together !== undefined && {
      async putTogether(writes, common, signal) {
        const own = writes.map((write) => {
          const copy = copyOf(write.name);
          return { ...conditioned(copy, write), name: copy.name };
        });
        const answers = await together(own, common, signal);
        for (const [at, answer] of answers.entries())
          if (!(answer instanceof EvictdError)) keep(copyOf(writes[at]?.name ?? ''), answer, []);
        return answers;
      },
    }),
    async snapshot(name, etag, signal) {
      const copy = copyOf(name);
      // Of a blob that is as it was: its copy is made now, and empty.
      if (copy.etag === undefined)
        keep(copy, await putOver(store, copy, new Uint8Array(0), WRITE_EMPTY, signal), []);
      return store.snapshot(copy.name, copy.etag ?? etag, signal);
    },
    async remove(name) {
      throw new EvictdError('refused', `a rehearsal must not remove ${name}`);
    },
  };
}

function keep(copy: Copy, answer: Written, blocks: readonly string[]): Written {
  copy.etag = answer.etag;
  copy.blocks = blocks;
  return answer;
}

/** A name that only has staged blocks makes some services refuse a whole write on a condition; see commit-file.ts. */
async function putOver(
  store: BlobStore,
  copy: Copy,
  body: Uint8Array,
  write: WriteOptions,
  signal: AbortSignal,
): Promise<Written> {
  try {
    return await store.put(copy.name, body, write, signal);
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'conflict') || copy.sent.size === 0) throw error;
    const id = hash('sha256', body, 'buffer').subarray(0, BLOCK_ID_BYTES).toString('base64');
    await store.stageBlock(copy.name, id, body, signal);
    return store.commitBlocks(copy.name, [id], write, signal);
  }
}

/** Nobody else writes there: the real blob's version was looked at when the rehearsal began. */
function conditioned<T extends Pick<WriteOptions, 'condition'>>(copy: Copy, write: T): T {
  const condition: WriteCondition = copy.etag === undefined ? { ifNone: true } : { ifEtag: copy.etag };
  return { ...write, condition };
}

function merged(real: BlockList | undefined, copy: Copy | undefined): BlockList | undefined {
  // Nothing of it has got there.
  if (copy === undefined || (copy.etag === undefined && copy.sent.size === 0)) return real;
  const known = [...(real?.committed ?? []), ...(real?.uncommitted ?? [])];
  const sizes = new Map(known.map(({ id, bytes }) => [id, bytes]));
  for (const [id, bytes] of copy.sent) sizes.set(id, bytes);
  const stored = (ids: Iterable<string>): StoredBlock[] =>
    [...ids].map((id) => ({ id, bytes: sizes.get(id) ?? 0 }));
  if (copy.etag !== undefined) return { etag: copy.etag, committed: stored(copy.blocks), uncommitted: [] };
  const committed = real?.committed ?? [];
  const isCommitted = new Set(committed.map(({ id }) => id));
  const open = [...sizes.keys()].filter((id) => !isCommitted.has(id));
  return { etag: real?.etag, committed, uncommitted: stored(open) };
}

const BLOB_NAME_CHARACTERS_MAX = 1024;

/** The place of a rehearsal has a longer name than the real one, which may have been just short enough. */
function shortened(name: string, from: string, to: string): string {
  const rest = name.slice(from.length);
  if (to.length + rest.length <= BLOB_NAME_CHARACTERS_MAX) return rest;
  return `long/${hash('sha256', rest)}`;
}

const REMOVALS_IN_FLIGHT = 16;

/**
 * Removes all that rehearsals of this key have left in the store, also those that were killed. Answers how many blobs.
 * Rejects with what the store rejects with.
 */
export async function cleanUpDrill(
  place: Place,
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<number> {
  const below = drillPrefix(place);
  const names = await namesBelow(store, below, signal);
  await forEachLimit(names, REMOVALS_IN_FLIGHT, signal, (name, inner) => store.remove(name, {}, inner));
  if (names.length === 0) return 0;
  // What has only staged blocks can't be removed before it is a blob.
  await forEachLimit(
    await namesBelow(store, below, signal),
    REMOVALS_IN_FLIGHT,
    signal,
    async (name, inner) => {
      await store.commitBlocks(name, [], WRITE_EMPTY, inner);
      await store.remove(name, {}, inner);
    },
  );
  return names.length;
}

async function namesBelow(store: BlobStore, below: string, signal: AbortSignal): Promise<string[]> {
  const names = new Set<string>();
  for await (const { name } of store.list(below, signal, { snapshots: false, uncommitted: true }))
    names.add(name);
  return [...names];
}
