import { createHash, randomUUID } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import type { BlobStore, WriteOptions } from '../../src/checkpoint/store.ts';

export interface StoreUnderTest {
  readonly store: BlobStore;
  close?(): Promise<void>;
}

/** What every `BlobStore` does. `open` makes a store on an existing, empty container. */
export function describeBlobStore(title: string, open: () => Promise<StoreUnderTest>): void {
  describe(`blob store contract: ${title}`, () => {
    let opened: StoreUnderTest;
    let store: BlobStore;
    const { signal } = new AbortController();

    beforeAll(async () => {
      opened = await open();
      ({ store } = opened);
    });
    afterAll(() => opened.close?.());

    const putNew = async (name: string, text: string, metadata = {}) =>
      store.put(name, bytes(text), { ...writeNew, metadata }, signal);
    const readText = async (name: string, snapshot?: string) =>
      text(await store.read(name, { bytesMax: 1000, ...(snapshot !== undefined && { snapshot }) }, signal));
    const stage = async (name: string, ...contents: string[]) => {
      for (const content of contents) await store.stageBlock(name, blockId(content), bytes(content), signal);
      return contents.map(blockId);
    };

    test('what was put comes back, whole and in ranges', async () => {
      const name = fresh('put');
      await putNew(name, 'hello blob');
      expect(await readText(name)).toBe('hello blob');
      const range = { offset: 6, count: 4 };
      expect(text(await store.read(name, { bytesMax: 4, range }, signal))).toBe('blob');
    });

    test('an empty blob comes back empty', async () => {
      const name = fresh('empty');
      await putNew(name, '');
      expect(await readText(name)).toBe('');
    });

    test('a blob larger than bytesMax is refused', async () => {
      const name = fresh('large');
      await putNew(name, 'x'.repeat(100));
      await expect(store.read(name, { bytesMax: 99 }, signal)).rejects.toMatchObject({ code: 'too-large' });
    });

    test('a missing blob is not-found to read, and undefined to head and blocks', async () => {
      const name = fresh('missing');
      await expect(store.read(name, { bytesMax: 1 }, signal)).rejects.toMatchObject({ code: 'not-found' });
      expect(await store.head(name, signal)).toBeUndefined();
      expect(await store.blocks(name, signal)).toBeUndefined();
    });

    test('put with ifNone refuses an existing blob and leaves it alone', async () => {
      const name = fresh('once');
      await putNew(name, 'first');
      await expect(putNew(name, 'second')).rejects.toMatchObject({ code: 'conflict' });
      expect(await readText(name)).toBe('first');
    });

    test('put with an ETag replaces that version only, and its metadata altogether', async () => {
      const name = fresh('versions');
      const first = await putNew(name, 'one', { a: '1', b: '2' });
      const second = await store.put(
        name,
        bytes('two'),
        { ...writeNew, condition: { ifEtag: first.etag }, metadata: { b: '3' } },
        signal,
      );
      expect(second.etag).not.toBe(first.etag);
      expect(await store.head(name, signal)).toEqual({ etag: second.etag, metadata: { b: '3' } });
      await expect(
        store.put(name, bytes('three'), { ...writeNew, condition: { ifEtag: first.etag } }, signal),
      ).rejects.toMatchObject({ code: 'conflict' });
      expect(await readText(name)).toBe('two');
    });

    test('staged blocks are invisible to readers and listings until they are committed', async () => {
      const name = fresh('staged');
      const ids = await stage(name, 'aa', 'bb');
      expect(await store.head(name, signal)).toBeUndefined();
      expect(await names(store, name)).toEqual([]);
      const found = await store.blocks(name, signal);
      expect(found?.etag).toBeUndefined();
      expect(found?.committed).toEqual([]);
      expect(found?.uncommitted.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
      expect(found?.uncommitted.every((block) => block.bytes === 2)).toBe(true);
    });

    test('a commit makes the blob of the listed blocks, in order and repeated where repeated', async () => {
      const name = fresh('commit');
      const [a = '', b = ''] = await stage(name, 'aa', 'b');
      const { etag } = await store.commitBlocks(
        name,
        [b, a, b],
        { ...writeNew, metadata: { k: 'v' } },
        signal,
      );
      expect(await readText(name)).toBe('baab');
      expect(await store.head(name, signal)).toEqual({ etag, metadata: { k: 'v' } });
      expect((await store.blocks(name, signal))?.committed.map(({ id }) => id)).toEqual([b, a, b]);
    });

    test('a commit of no blocks makes an empty blob', async () => {
      const name = fresh('nothing');
      await store.commitBlocks(name, [], writeNew, signal);
      expect(await readText(name)).toBe('');
      expect(await store.blocks(name, signal)).toMatchObject({ committed: [], uncommitted: [] });
    });

    test('a later commit reuses committed blocks, replaces metadata and discards what it does not list', async () => {
      const name = fresh('reuse');
      const [a = '', b = ''] = await stage(name, 'aa', 'bb');
      const first = await store.commitBlocks(name, [a, b], { ...writeNew, metadata: { old: '1' } }, signal);
      const [c = ''] = await stage(name, 'cc', 'unused');
      const condition = { ifEtag: first.etag };
      const second = await store.commitBlocks(
        name,
        [a, c],
        { ...writeNew, condition, metadata: { new: '2' } },
        signal,
      );
      expect(await readText(name)).toBe('aacc');
      expect(await store.head(name, signal)).toEqual({ etag: second.etag, metadata: { new: '2' } });
      expect(await store.blocks(name, signal)).toEqual({
        etag: second.etag,
        committed: [
          { id: a, bytes: 2 },
          { id: c, bytes: 2 },
        ],
        uncommitted: [],
      });
    });

    test('a commit on another version is a conflict and changes nothing', async () => {
      const name = fresh('race');
      const [a = ''] = await stage(name, 'aa');
      const first = await store.commitBlocks(name, [a], writeNew, signal);
      await store.commitBlocks(name, [a, a], { ...writeNew, condition: { ifEtag: first.etag } }, signal);
      const late = store.commitBlocks(name, [a], { ...writeNew, condition: { ifEtag: first.etag } }, signal);
      await expect(late).rejects.toMatchObject({ code: 'conflict' });
      await expect(store.commitBlocks(name, [a], writeNew, signal)).rejects.toMatchObject({
        code: 'conflict',
      });
      expect(await readText(name)).toBe('aaaa');
    });

    test('a commit that lists an unknown block is refused as missing-block', async () => {
      const name = fresh('unknown');
      const [a = ''] = await stage(name, 'aa');
      const commit = store.commitBlocks(name, [a, blockId('never sent')], writeNew, signal);
      await expect(commit).rejects.toMatchObject({ code: 'missing-block' });
    });

    test('an empty committed blob with staged blocks still has its ETag', async () => {
      const name = fresh('empty-staged');
      const { etag } = await store.commitBlocks(name, [], writeNew, signal);
      const [a = ''] = await stage(name, 'aa');
      expect(await store.blocks(name, signal)).toEqual({
        etag,
        committed: [],
        uncommitted: [{ id: a, bytes: 2 }],
      });
    });

    test('a snapshot keeps the version it was made of', async () => {
      const name = fresh('snapshot');
      const first = await putNew(name, 'old');
      const snapshot = await store.snapshot(name, first.etag, signal);
      const condition = { ifEtag: first.etag };
      await store.put(name, bytes('new'), { ...writeNew, condition }, signal);
      expect(await readText(name)).toBe('new');
      expect(await readText(name, snapshot)).toBe('old');
      await expect(store.snapshot(name, first.etag, signal)).rejects.toMatchObject({ code: 'conflict' });
      expect(await names(store, name)).toEqual([name]);
      const listed = [];
      for await (const item of store.list(name, signal, { snapshots: true })) listed.push(item);
      expect(listed.map((item) => [item.name, item.snapshot])).toEqual([
        [name, snapshot],
        [name, undefined],
      ]);
    });

    test('remove takes a snapshot alone, or the blob with all its snapshots; missing ones are no error', async () => {
      const name = fresh('remove');
      const { etag } = await putNew(name, 'x');
      const one = await store.snapshot(name, etag, signal);
      await store.remove(name, { snapshot: one }, signal);
      await expect(readText(name, one)).rejects.toMatchObject({ code: 'not-found' });
      expect(await readText(name)).toBe('x');
      const two = await store.snapshot(name, etag, signal);
      await store.remove(name, {}, signal);
      await expect(readText(name, two)).rejects.toMatchObject({ code: 'not-found' });
      await store.remove(name, {}, signal);
      await store.remove(name, { snapshot: one }, signal);
    });

    test('remove with an ETag leaves another version alone', async () => {
      const name = fresh('remove-version');
      const { etag } = await putNew(name, 'x');
      await store.put(name, bytes('y'), { ...writeNew, condition: { ifEtag: etag } }, signal);
      await expect(store.remove(name, { ifEtag: etag }, signal)).rejects.toMatchObject({ code: 'conflict' });
      expect(await readText(name)).toBe('y');
    });

    test('list gives committed blobs below the prefix in name order, with size, time and the ETag of head', async () => {
      const root = fresh('list');
      for (const name of ['b', 'a/2', 'a/1', 'other']) await putNew(`${root}/${name}`, name);
      const items = [];
      for await (const item of store.list(`${root}/a/`, signal)) items.push(item);
      expect(items.map(({ name }) => name)).toEqual([`${root}/a/1`, `${root}/a/2`]);
      expect(items[0]).toMatchObject({ bytes: 3, etag: (await store.head(`${root}/a/1`, signal))?.etag });
      expect(Math.abs((items[0]?.modifiedAt ?? 0) - Date.now())).toBeLessThan(60_000);
      expect(await names(store, root)).toHaveLength(4);
    });

    test.each([
      'a b',
      '50%',
      '%41',
      '%2e%2e',
      'a#b?c&d=e',
      "+~!*'()",
      '"<>|:;@=$,^`{}[]',
      'ü',
      'e\u0301',
      '日本',
      '🙂',
      '.hidden',
      'a..b',
    ])('the name %j is kept as it is', async (odd) => {
      const name = `${fresh('odd')}/${odd}/${odd}`;
      await putNew(name, odd);
      expect(await readText(name)).toBe(odd);
      expect(await names(store, name)).toEqual([name]);
    });

    test('every call on an aborted signal rejects with aborted', async () => {
      const gone = AbortSignal.abort();
      const calls = [
        names(store, 'x', gone),
        store.read('x', { bytesMax: 1 }, gone),
        store.blocks('x', gone),
        store.stageBlock('x', blockId('x'), bytes('x'), gone),
        store.commitBlocks('x', [], writeNew, gone),
        store.put('x', bytes('x'), writeNew, gone),
        store.snapshot('x', '"0x1"', gone),
        store.head('x', gone),
        store.remove('x', {}, gone),
      ];
      for (const outcome of await Promise.allSettled(calls)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'aborted' } });
      }
    });
  });
}

const writeNew: WriteOptions = {
  condition: { ifNone: true },
  metadata: {},
  contentType: 'application/octet-stream',
};

function fresh(title: string): string {
  return `contract/${title}-${randomUUID()}`;
}

/** As the engine does: all ids of a blob have the same length. */
function blockId(content: string): string {
  return createHash('sha256').update(content).digest('base64');
}

function bytes(content: string): Uint8Array {
  return Buffer.from(content);
}

function text(content: Uint8Array): string {
  return Buffer.from(content).toString();
}

async function names(
  store: BlobStore,
  prefix: string,
  signal = new AbortController().signal,
): Promise<string[]> {
  const found = [];
  for await (const { name } of store.list(prefix, signal)) found.push(name);
  return found;
}
