import { EvictdError } from '../../base/errors.ts';
import type { BlobStore, WriteOptions } from './store.ts';

export interface CreatedOnce {
  /**
   * `ours`: the name already has exactly these bytes, as after a lost answer; `other`: it has other ones, and nothing was
   * written.
   */
  readonly outcome: 'created' | 'ours' | 'other';
  /** The account keeps versions; known of `created` only. */
  readonly isVersioned: boolean;
}

/** What is taken and then isn't there, again and again, is a store that contradicts itself. */
const TRIES_MAX = 3;

/**
 * Creates a blob and finds out what a name that is taken holds. Rejects with what `create` and `read` reject with: then
 * nobody knows what is there.
 */
export async function createOnce(
  store: Pick<BlobStore, 'create' | 'read'>,
  name: string,
  body: Uint8Array,
  options: WriteOptions,
  signal: AbortSignal,
): Promise<CreatedOnce> {
  for (let tries = 1; tries <= TRIES_MAX; tries++) {
    const { outcome, isVersioned = false } = await store.create(name, body, options, signal);
    if (outcome === 'created') return { outcome, isVersioned };
    const held = await readIfThere(store, name, body.length, signal);
    if (held === 'absent') continue;
    const isOurs = held !== 'larger' && Buffer.compare(held, body) === 0;
    return { outcome: isOurs ? 'ours' : 'other', isVersioned: false };
  }
  throw new EvictdError(
    'bad-answer',
    `${name} can't be created, since it is there, nor read, since it isn't`,
    {
      remedy: 'find out what else writes and deletes in this container',
    },
  );
}

async function readIfThere(
  store: Pick<BlobStore, 'read'>,
  name: string,
  bytesMax: number,
  signal: AbortSignal,
): Promise<Uint8Array | 'absent' | 'larger'> {
  try {
    return await store.read(name, { bytesMax }, signal);
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'not-found') return 'absent';
    if (error instanceof EvictdError && error.code === 'too-large') return 'larger';
    throw error;
  }
}
