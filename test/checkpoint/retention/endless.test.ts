import { expect, test } from 'vitest';

import { listEntries } from '../../../src/checkpoint/index/entries.ts';
import { listHolds } from '../../../src/checkpoint/retention/holds.ts';
import { listPacks } from '../../../src/checkpoint/index/list-packs.ts';
import type { BlobStore, ListOptions } from '../../../src/checkpoint/store/store.ts';
import { MADE_PLACE } from '../../support/made-store.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';

const signal = new AbortController().signal;

/** Pages that have no end, of names that are as they should be. */
function endless(nameOf: (index: number) => string): BlobStore {
  let count = 0;
  return {
    ...createMemoryBlobs().connect(),
    list: async (prefix: string, _options: ListOptions) => ({
      items: Array.from({ length: 5000 }, () => ({
        name: prefix + nameOf(++count),
        bytes: 10,
        modifiedAt: 0,
        isArchived: false,
      })),
      next: `${count}`,
      serverMs: 0,
    }),
    read: async () => new Uint8Array(Buffer.from('{"kind":"restore"}')),
  };
}

test.each([
  ['entries', (index: number) => `${String(index).padStart(8, '0')}.json`, listEntries],
  [
    'packs',
    (index: number) => `0123456789abcdef-01234567-${index.toString(16).padStart(8, '0')}`,
    (store: BlobStore) => listPacks(store, 'p/packs/', signal),
  ],
  [
    'holds',
    (index: number) => `${String(index).padStart(8, '0')}-a`,
    (store: BlobStore) => listHolds(MADE_PLACE, { store }, signal),
  ],
] as const)('a listing of %s that never ends is an error', async (_, nameOf, list) => {
  await expect(list(endless(nameOf), MADE_PLACE, signal)).rejects.toMatchObject({ code: 'bad-answer' });
});
