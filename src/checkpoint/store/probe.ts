import { randomUUID } from 'node:crypto';

import { EvictdError } from '../../base/errors.ts';
import { createOnce } from './create-once.ts';
import type { BlobStore } from './store.ts';

const BODY = Buffer.from('evictd\n');

/**
 * Does once each thing that a commit, its restore and retention do, on a blob below `prefix` that is removed whatever
 * happens; where that can't be, it is the same one each time. Rejects with what the store rejects with, saying what may
 * not be done; a container that lets nothing be removed takes checkpoints all the same, and is no problem here.
 */
export function createProbe(store: BlobStore, prefix: string): (signal: AbortSignal) => Promise<void> {
  const name = `${prefix}probe-${randomUUID()}`;
  return async (signal) => {
    let doing = 'write';
    try {
      const { outcome } = await createOnce(store, name, BODY, { contentType: 'text/plain' }, signal);
      if (outcome === 'other')
        throw new EvictdError('refused', `${name} can not be new and is said to be taken`);
      doing = 'list';
      await store.list(name, { max: 1 }, signal);
      doing = 'read';
      await store.read(name, { bytesMax: BODY.length }, signal);
      doing = 'remove';
      await store.remove(name, signal);
    } catch (error) {
      if (!(error instanceof EvictdError)) throw error;
      if (doing === 'remove' && error.code === 'immutable') return;
      if (doing !== 'write' && doing !== 'remove') await store.remove(name, signal).catch(() => undefined);
      const { code, message, remedy } = error;
      throw new EvictdError(code, `evictd may not ${doing} blobs below ${prefix}: ${message}`, {
        ...(remedy !== undefined && { remedy }),
        cause: error,
      });
    }
  };
}
