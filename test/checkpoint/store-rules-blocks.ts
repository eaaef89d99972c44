import { expect } from 'vitest';

import { NEW, type Rule, type Subject, WRITE_NEW, blockId, fresh, signal, rule } from './store-subject.ts';

/** Blocks that are staged, and what is made of them. */
export function blockRules(subject: Subject): readonly Rule[] {
  const { store, putNew, readText, stage, commit, names } = subject;

  return [
    rule(
      'staging',
      'staged blocks are invisible to readers and plain listings until they are committed',
      async () => {
        const name = fresh('staged');
        const ids = await stage(name, 'aa', 'bb', 'aa');
        expect(await store().head(name, signal)).toBeUndefined();
        await expect(readText(name)).rejects.toMatchObject({ code: 'not-found' });
        expect(await names(name)).toEqual([]);
        expect(await names(name, { snapshots: false, uncommitted: true })).toEqual([name]);
        const found = await store().blocks(name, signal);
        expect(found?.etag).toBeUndefined();
        expect(found?.committed).toEqual([]);
        expect(found?.uncommitted.map(({ id }) => id).toSorted()).toEqual([...new Set(ids)].toSorted());
      },
    ),

    rule('sizes', 'sizes are told, of blocks, staged and committed', async () => {
      const name = fresh('sizes');
      const [a = '', b = ''] = await stage(name, 'a', 'bb');
      const staged = await store().blocks(name, signal);
      expect(new Set(staged?.uncommitted)).toEqual(
        new Set([
          { id: a, bytes: 1 },
          { id: b, bytes: 2 },
        ]),
      );
      await commit(name, [b, a], NEW);
      expect((await store().blocks(name, signal))?.committed).toEqual([
        { id: b, bytes: 2 },
        { id: a, bytes: 1 },
      ]);
    }),

    rule(
      'content',
      'a commit makes the blob of the listed blocks, in order and repeated where repeated',
      async () => {
        const name = fresh('commit');
        const [a = '', b = ''] = await stage(name, 'aa', 'b');
        const write = { ...WRITE_NEW, metadata: { k: 'v' } };
        const { etag } = await store().commitBlocks(name, [b, a, b], write, signal);
        expect(await readText(name)).toBe('baab');
        expect(await store().head(name, signal)).toEqual({ etag, metadata: { k: 'v' } });
        const found = await store().blocks(name, signal);
        expect(found).toMatchObject({ etag, uncommitted: [] });
        expect(found?.committed.map(({ id }) => id)).toEqual([b, a, b]);
      },
    ),

    rule('content', 'a commit of no blocks makes an empty blob', async () => {
      const name = fresh('nothing');
      await commit(name, [], NEW);
      expect(await readText(name)).toBe('');
      expect(await store().blocks(name, signal)).toMatchObject({ committed: [], uncommitted: [] });
    }),

    rule(
      'staging',
      'a later commit reuses committed blocks, replaces metadata and discards what it does not list',
      async () => {
        const name = fresh('reuse');
        const [a = '', b = ''] = await stage(name, 'aa', 'bb');
        const first = await store().commitBlocks(
          name,
          [a, b],
          { ...WRITE_NEW, metadata: { old: '1' } },
          signal,
        );
        const [c = ''] = await stage(name, 'cc', 'unused');
        const write = { ...WRITE_NEW, condition: { ifEtag: first.etag }, metadata: { new: '2' } };
        const { etag } = await store().commitBlocks(name, [a, c], write, signal);
        expect(await readText(name)).toBe('aacc');
        expect(await store().head(name, signal)).toEqual({ etag, metadata: { new: '2' } });
        const found = await store().blocks(name, signal);
        expect(found).toMatchObject({ etag, uncommitted: [] });
        expect(found?.committed.map(({ id }) => id)).toEqual([a, c]);
        // Gone with the commit that no longer listed it.
        await expect(commit(name, [b], { ifEtag: etag })).rejects.toMatchObject({ code: 'missing-block' });
        expect(await readText(name)).toBe('aacc');
      },
    ),

    rule('staging', 'a commit that lists an unknown block is refused as missing-block', async () => {
      const name = fresh('unknown');
      const [a = ''] = await stage(name, 'aa');
      const late = commit(name, [a, blockId('never sent')], NEW);
      await expect(late).rejects.toMatchObject({ code: 'missing-block' });
      expect(await store().head(name, signal)).toBeUndefined();
    }),

    rule('staging', 'an empty committed blob with staged blocks still has its ETag', async () => {
      const name = fresh('empty-staged');
      const { etag } = await commit(name, [], NEW);
      const [a = ''] = await stage(name, 'aa');
      const found = await store().blocks(name, signal);
      expect(found).toMatchObject({ etag, committed: [], uncommitted: [{ id: a }] });
    }),

    rule('whole writes', 'a whole write drops the blocks that were staged', async () => {
      const name = fresh('put-over');
      const { etag } = await putNew(name, 'old');
      const [a = ''] = await stage(name, 'aa');
      const { etag: later } = await subject.putOver(name, 'new', etag);
      expect((await store().blocks(name, signal))?.uncommitted ?? []).toEqual([]);
      await expect(commit(name, [a], { ifEtag: later })).rejects.toMatchObject({ code: 'missing-block' });
    }),
  ];
}
