import { EvictdError } from '../base/errors.ts';
import { tryParseJson } from '../base/json.ts';
import { HASH_KEY } from './blob-name.ts';
import { HashKeyDocument } from './schema.ts';
import type { BlobStore } from './store.ts';

/*
 * The key of a set's block ids. Every manifest says it; before the first one this blob does, so that what one VM has
 * staged counts for the next one, too. Without it nothing is lost but the use of those blocks.
 */

const BYTES_MAX = 4096;

/**
 * Undefined where nobody has left one, or where it can't be read, of which `onUnusable` hears.
 * Rejects with what the store rejects with.
 */
export async function readHashKey(
  store: BlobStore,
  prefix: string,
  signal: AbortSignal,
  onUnusable: (error: EvictdError) => void,
): Promise<string | undefined> {
  const name = prefix + HASH_KEY;
  let text = '';
  try {
    text = Buffer.from(await store.read(name, { bytesMax: BYTES_MAX }, signal)).toString('utf8');
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    if (error.code === 'not-found') return undefined;
    if (error.code !== 'too-large') throw error;
  }
  const parsed = HashKeyDocument.safeParse(tryParseJson(text));
  if (parsed.success) return parsed.data.hashKey;
  const why = `${name} does not hold a hash key; blocks that were staged before the first checkpoint are sent again`;
  onUnusable(new EvictdError('bad-hash-key', why, { remedy: 'remove it' }));
  return undefined;
}

/** Before the first block is sent: leaves `fresh` there, and answers what is there then, another VM's where it was quicker. */
export async function leaveHashKey(
  store: BlobStore,
  prefix: string,
  fresh: string,
  signal: AbortSignal,
): Promise<string> {
  const body = Buffer.from(`${JSON.stringify({ version: 1, hashKey: fresh } satisfies HashKeyDocument)}\n`);
  const write = { condition: { ifNone: true }, metadata: {}, contentType: 'application/json' } as const;
  try {
    await store.put(prefix + HASH_KEY, body, write, signal);
    return fresh;
  } catch (error) {
    if (signal.aborted || !(error instanceof EvictdError)) throw error;
    // Where the store refuses this, what matters is refused as well, and says so.
    if (error.code !== 'conflict') return fresh;
    // Somebody was quicker, or the answer to a try of ours got lost, or it is one that can't be read.
    return (await readHashKey(store, prefix, signal, () => undefined)) ?? fresh;
  }
}
