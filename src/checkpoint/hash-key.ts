import { EvictdError } from '../base/errors.ts';
import { tryParseJson } from '../base/json.ts';
import { HASH_KEY } from './blob-name.ts';
import { HashKeyDocument } from './schema.ts';
import type { BlobStore } from './store.ts';

const BYTES_MAX = 4096;

/**
 * The key of the block ids of a set without a checkpoint; every manifest says its own. It is kept in the store before
 * the first block is, so that what one VM has staged counts for the next one, too. `fresh` where nobody has left one.
 * Where it can't be read, of which `onUnusable` hears, or not be written, nothing is lost but the use of what was staged
 * before the first checkpoint. Rejects with what the store's reading rejects with.
 */
export async function findHashKey(
  store: BlobStore,
  prefix: string,
  fresh: string,
  signal: AbortSignal,
  onUnusable: (error: EvictdError) => void,
): Promise<string> {
  const name = prefix + HASH_KEY;
  const found = await readHashKey(store, name, signal, onUnusable);
  if (found !== undefined) return found;
  const body = Buffer.from(`${JSON.stringify({ version: 1, hashKey: fresh } satisfies HashKeyDocument)}\n`);
  const write = { condition: { ifNone: true }, metadata: {}, contentType: 'application/json' } as const;
  try {
    await store.put(name, body, write, signal);
    return fresh;
  } catch (error) {
    if (signal.aborted) throw error;
    // Another writer was quicker, or the answer to a try of ours got lost, or it is the one that can't be read.
    if (error instanceof EvictdError && error.code === 'conflict')
      return (await readHashKey(store, name, signal, () => undefined)) ?? fresh;
    // It only saves time. Where the store refuses it, what matters is refused as well, and says so.
    return fresh;
  }
}

async function readHashKey(
  store: BlobStore,
  name: string,
  signal: AbortSignal,
  onUnusable: (error: EvictdError) => void,
): Promise<string | undefined> {
  let body: Uint8Array;
  try {
    body = await store.read(name, { bytesMax: BYTES_MAX }, signal);
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'not-found') return undefined;
    throw error;
  }
  const parsed = HashKeyDocument.safeParse(tryParseJson(Buffer.from(body).toString('utf8')));
  if (parsed.success) return parsed.data.hashKey;
  const text = `${name} does not hold a hash key; blocks that were staged before the first checkpoint are sent again`;
  onUnusable(new EvictdError('bad-hash-key', text, { remedy: 'remove it' }));
  return undefined;
}
