import { storeError } from './memory-blobs.ts';
import type { BlobHooks } from './memory-blobs.ts';

/** A process that dies at its n-th call: from then on nothing it does reaches the service. */
export function dieAt(callNumber: number, when: 'before' | 'after'): BlobHooks {
  let dead = false;
  const die = () => {
    dead = true;
    throw storeError('network', 'the process is dead');
  };
  return {
    before(_call, number) {
      if (dead || (when === 'before' && number === callNumber)) die();
    },
    after(_call, number) {
      if (dead || (when === 'after' && number === callNumber)) die();
    },
  };
}
