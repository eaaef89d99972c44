import { expect, test } from 'vitest';

import { listAll, listPages } from '../../../src/checkpoint/store/list-all.ts';
import type { BlobPage } from '../../../src/checkpoint/store/store.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { TYPE, signal } from './store-subject.ts';

/** A listing that answers these pages, by the marker that asks for them. */
function listing(pages: Readonly<Record<string, { names: readonly string[]; next?: string }>>) {
  return {
    async list(_: string, { from = '' }: { from?: string }): Promise<BlobPage> {
      const { names, ...rest } = pages[from] ?? { names: [] };
      const items = names.map((name) => ({ name, bytes: 1, modifiedAt: 0, isArchived: false }));
      return { items, serverMs: 0, ...rest };
    },
  };
}

async function namesOf(store: Parameters<typeof listAll>[0], prefix = 'p/'): Promise<string[]> {
  const names = [];
  for await (const { name } of listAll(store, prefix, signal)) names.push(name);
  return names;
}

test('all pages are listed, in order, and each says when it was made', async () => {
  const blobs = createMemoryBlobs({ pageMax: 2, wallMs: () => 1234 });
  const store = blobs.connect();
  const names = Array.from({ length: 7 }, (_, index) => `p/${index}`);
  for (const name of [...names, 'other']) await store.create(name, Buffer.from('x'), TYPE, signal);
  expect(await namesOf(store)).toEqual(names);
  const times = [];
  for await (const page of listPages(store, 'p/', signal)) times.push(page.serverMs);
  expect(times).toEqual([1234, 1234, 1234, 1234]);
  expect(await namesOf(store, 'none')).toEqual([]);
});

test('empty pages, and the orders of other accounts, are no reason to doubt', async () => {
  const empty = listing({ '': { names: [], next: 'm' }, m: { names: ['p/a'], next: 'n' }, n: { names: [] } });
  expect(await namesOf(empty)).toEqual(['p/a']);
  // By bytes, by UTF-16 units, and with the slash lowest.
  for (const names of [
    ['p/\uffee', 'p/\u{1f642}'],
    ['p/\u{1f642}', 'p/\uffee'],
    ['p/a/b', 'p/a-b'],
    ['p/a-b', 'p/a/b'],
  ]) {
    expect(await namesOf(listing({ '': { names } }))).toEqual(names);
  }
});

test.each([
  ['comes back to where it was', { '': { names: ['p/a'], next: 'm' }, m: { names: [], next: 'm' } }],
  [
    'goes in a circle',
    { '': { names: [], next: 'm' }, m: { names: [], next: 'n' }, n: { names: [], next: 'm' } },
  ],
  ['repeats a name', { '': { names: ['p/a', 'p/a'] } }],
  ['repeats a page', { '': { names: ['p/a', 'p/b'], next: 'm' }, m: { names: ['p/a', 'p/b'] } }],
  ['goes back', { '': { names: ['p/b', 'p/a'] } }],
  ['is of another place', { '': { names: ['q/a'] } }],
])('a listing that %s is not believed', async (_, pages) => {
  await expect(namesOf(listing(pages))).rejects.toMatchObject({ code: 'bad-answer' });
});

test('a listing that never ends is given up', async () => {
  let page = 0;
  const store = { list: async () => ({ items: [], serverMs: 0, next: String(++page) }) };
  await expect(namesOf(store)).rejects.toMatchObject({ code: 'bad-answer' });
  expect(page).toBe(20_000);
});
