import type { ContainerClient } from '@azure/storage-blob';

import { EvictdError } from '../../../base/errors.ts';
import type { Caller } from './caller.ts';
import { blobIn } from './blob-name.ts';
import { assertOfService } from './errors.ts';
import type { BlobStore, Created, Removed } from '../store.ts';

/** The writing half of the store. */
export function createWriter(
  container: ContainerClient,
  call: Caller,
): Pick<BlobStore, 'create' | 'replace' | 'remove'> {
  return {
    async create(name, body, { contentType }, signal) {
      const blob = blobIn(container, name);
      const run = async (abortSignal: AbortSignal): Promise<Created> => {
        const conditions = { ifNoneMatch: '*' };
        const blobHTTPHeaders = { blobContentType: contentType };
        const answer = await blob.upload(body, body.length, { abortSignal, conditions, blobHTTPHeaders });
        assertOfService(answer);
        return { outcome: 'created', isVersioned: answer.versionId !== undefined };
      };
      // Only what is there can be leased, archived or under a policy.
      const taken: Created = { outcome: 'taken' };
      const outcomes = { taken, leased: taken, archived: taken, immutable: taken };
      return call({ what: `create ${name}`, bytes: body.length, run, outcomes }, signal);
    },
    async replace(name, body, { contentType }, signal) {
      const blob = blobIn(container, name);
      const run = async (abortSignal: AbortSignal) => {
        const blobHTTPHeaders = { blobContentType: contentType };
        assertOfService(await blob.upload(body, body.length, { abortSignal, blobHTTPHeaders }));
        return true;
      };
      const write = { what: `write ${name}`, bytes: body.length, run, outcomes: { taken: false } };
      if (await call(write, signal)) return;
      throw new EvictdError('immutable', `could not write ${name}: it is there and may not be overwritten`, {
        remedy: 'give the shared access signature the right to write (w)',
      });
    },
    async remove(name, signal) {
      const blob = blobIn(container, name);
      const run = async (abortSignal: AbortSignal): Promise<Removed> => {
        const answer = await blob.delete({ abortSignal });
        assertOfService(answer);
        // Source: answers recorded from accounts that keep what is deleted.
        const isPermanent = answer._response.headers.get('x-ms-delete-type-permanent') !== 'false';
        return { outcome: 'removed', isPermanent };
      };
      const absent: Removed = { outcome: 'absent' };
      return call({ what: `remove ${name}`, run, outcomes: { 'not-found': absent } }, signal);
    },
  };
}
