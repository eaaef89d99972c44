import { EvictdError } from '../../src/base/errors.ts';
import type { BlobStore, Written } from '../../src/checkpoint/store.ts';

/** `putTogether` by `put`: whatever can happen to one write can happen to each of them. */
export function putEach(put: BlobStore['put']): NonNullable<BlobStore['putTogether']> {
  return (writes, common, signal) =>
    Promise.all(
      writes.map(async ({ name, body, condition, metadata }): Promise<Written | EvictdError> => {
        const write = { ...common, condition, metadata: { ...common.metadata, ...metadata } };
        try {
          return await put(name, body, write, signal);
        } catch (error) {
          if (error instanceof EvictdError) return error;
          throw error;
        }
      }),
    );
}
