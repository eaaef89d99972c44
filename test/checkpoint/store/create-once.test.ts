import { expect, test } from 'vitest';

import { createOnce } from '../../../src/checkpoint/store/create-once.ts';
import { createMemoryBlobs, storeError } from '../../support/memory-blobs.ts';
import { TYPE, signal } from './store-subject.ts';

const BODY = Buffer.from('content');

test('our own bytes behind a lost answer are ours, without being sent again', async () => {
  const blobs = createMemoryBlobs({ isVersioned: true });
  await blobs.connect().create('x', BODY, TYPE, signal);
  const store = blobs.connect();
  expect(await createOnce(store, 'x', BODY, TYPE, signal)).toEqual({ outcome: 'ours', isVersioned: false });
  expect(await createOnce(store, 'y', BODY, TYPE, signal)).toEqual({ outcome: 'created', isVersioned: true });
  expect(store.calls.map(({ operation }) => operation)).toEqual(['create', 'read', 'create']);
});

test('what was removed between the two looks is created after all', async () => {
  const blobs = createMemoryBlobs();
  await blobs.connect().create('x', Buffer.from('other'), TYPE, signal);
  const store = blobs.connect({
    before({ operation }) {
      if (operation === 'read') blobs.remove('x');
    },
  });
  expect(await createOnce(store, 'x', BODY, TYPE, signal)).toMatchObject({ outcome: 'created' });
  expect(blobs.content('x')).toEqual(BODY);
});

test('a name that is there to one call and not to the other is given up', async () => {
  const store = {
    create: async () => ({ outcome: 'taken' }) as const,
    read: () => Promise.reject(storeError('not-found', 'x')),
  };
  await expect(createOnce(store, 'x', BODY, TYPE, signal)).rejects.toMatchObject({ code: 'bad-answer' });
});

test('what can\u2019t be read is unknown, not another\u2019s', async () => {
  const blobs = createMemoryBlobs();
  const store = blobs.connect();
  await store.create('x', BODY, TYPE, signal);
  blobs.archive('x');
  await expect(createOnce(store, 'x', BODY, TYPE, signal)).rejects.toMatchObject({ code: 'archived' });
});
