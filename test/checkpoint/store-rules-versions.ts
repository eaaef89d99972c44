import { expect } from 'vitest';

import { NEW, WRITE_NEW, type Rule, type Subject, bytes, fresh, signal, rule } from './store-subject.ts';

const CONFLICT = { code: 'conflict' };
const NOT_FOUND = { code: 'not-found' };
/** Conditions, snapshots, removal and lists. */
export function versionRules(subject: Subject): readonly Rule[] {
  const { store, putNew, putOver, readText, stage, commit, names } = subject;

  return [
    rule('conditions', 'a write on ifNone refuses an existing blob and leaves it alone', async () => {
      const name = fresh('once');
      await putNew(name, 'first');
      await expect(putNew(name, 'second')).rejects.toMatchObject(CONFLICT);
      await expect(commit(name, await stage(name, 'third'), NEW)).rejects.toMatchObject(CONFLICT);
      expect(await readText(name)).toBe('first');
    }),

    rule('content', 'a write on an ETag replaces the blob, and its metadata altogether', async () => {
      const name = fresh('versions');
      const first = await putNew(name, 'one', { a: '1', b: '2' });
      const second = await putOver(name, 'two', first.etag, { b: '3' });
      expect(second.etag).not.toBe(first.etag);
      expect(await store().head(name, signal)).toEqual({ etag: second.etag, metadata: { b: '3' } });
      expect(await readText(name)).toBe('two');
    }),

    rule(
      'conditions',
      'a write on the ETag of another version, or of none, is a conflict and changes nothing',
      async () => {
        const name = fresh('race');
        const first = await putNew(name, 'one');
        await putOver(name, 'two', first.etag);
        const [a = ''] = await stage(name, 'aa');
        await expect(putOver(name, 'three', first.etag)).rejects.toMatchObject(CONFLICT);
        await expect(commit(name, [a], { ifEtag: first.etag })).rejects.toMatchObject(CONFLICT);
        expect(await readText(name)).toBe('two');
        const missing = fresh('race-missing');
        await stage(missing, 'aa');
        await expect(putOver(missing, 'x', first.etag)).rejects.toMatchObject(CONFLICT);
        await expect(commit(missing, [a], { ifEtag: first.etag })).rejects.toMatchObject(CONFLICT);
        expect(await store().head(missing, signal)).toBeUndefined();
      },
    ),

    rule('snapshots', 'a snapshot that comes with a write is of just that', async () => {
      const name = fresh('at-once');
      const content = 'x'.repeat(20_000);
      const write = { ...WRITE_NEW, snapshot: true };
      const first = await store().put(name, bytes(content), write, signal);
      const second = await putOver(name, 'two', first.etag);
      const [id = ''] = await stage(name, 'three');
      const ifEtag = { condition: { ifEtag: second.etag } };
      const third = await store().commitBlocks(name, [id], { ...write, ...ifEtag }, signal);
      await putOver(name, 'four', third.etag);
      for (const [{ snapshot }, expected] of [
        [first, content],
        [third, 'three'],
      ] as const) {
        if (snapshot === undefined) continue;
        expect(await readText(name, snapshot)).toBe(expected);
      }
      expect(await readText(name)).toBe('four');
    }),

    rule('conditions', 'of writes at the same instant on the same condition one takes place', async () => {
      const name = fresh('together');
      const contents = ['one', 'two', 'three', 'four'];
      const write = async (act: (content: string) => Promise<unknown>) => {
        const outcomes = await Promise.allSettled(contents.map(act));
        const winners = contents.filter((_, index) => outcomes[index]?.status === 'fulfilled');
        expect(winners).toHaveLength(1);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject(CONFLICT);
        }
        expect(await readText(name)).toBe(winners[0]);
      };
      await write((content) => putNew(name, content));
      const etag = (await store().head(name, signal))?.etag ?? '';
      await write((content) => putOver(name, content, etag));
    }),

    rule('snapshots', 'a snapshot keeps the version it was made of', async () => {
      const name = fresh('snapshot');
      const first = await putNew(name, 'old');
      const snapshot = await store().snapshot(name, first.etag, signal);
      await putOver(name, 'new', first.etag);
      expect(await readText(name)).toBe('new');
      expect(await readText(name, snapshot)).toBe('old');
      await expect(readText(name, '2020-01-01T00:00:00.0000000Z')).rejects.toMatchObject(NOT_FOUND);
    }),

    rule(
      'conditions',
      'a snapshot of another version is a conflict, and none can be made of a missing blob',
      async () => {
        const name = fresh('snapshot-version');
        const { etag } = await putNew(name, 'old');
        await putOver(name, 'new', etag);
        await expect(store().snapshot(name, etag, signal)).rejects.toMatchObject(CONFLICT);
        // Services look at the condition or at the blob first.
        await expect(store().snapshot(fresh('missing'), etag, signal)).rejects.toHaveProperty(
          'code',
          expect.stringMatching(/^(conflict|not-found)$/),
        );
      },
    ),

    rule('snapshot lists', 'snapshots are listed before their blob, where they are asked for', async () => {
      const name = fresh('snapshot-list');
      const { etag } = await putNew(name, 'old');
      const snapshot = await store().snapshot(name, etag, signal);
      await putOver(name, 'newer', etag);
      expect(await names(name)).toEqual([name]);
      const listed = [];
      for await (const item of store().list(name, signal, { snapshots: true })) listed.push(item);
      expect(listed).toMatchObject([{ name, snapshot, etag }, { name }]);
      expect(listed[1]?.snapshot).toBeUndefined();
    }),

    rule(['snapshots', 'removal'], 'remove takes a snapshot alone', async () => {
      const name = fresh('remove-snapshot');
      const { etag } = await putNew(name, 'x');
      const one = await store().snapshot(name, etag, signal);
      const two = await store().snapshot(name, etag, signal);
      await store().remove(name, { snapshot: one }, signal);
      await store().remove(name, { snapshot: one }, signal);
      await expect(readText(name, one)).rejects.toMatchObject(NOT_FOUND);
      expect(await readText(name, two)).toBe('x');
      expect(await readText(name)).toBe('x');
    }),

    rule('removal', 'remove takes the blob with all its snapshots; a missing one is no error', async () => {
      const name = fresh('remove');
      const { etag } = await putNew(name, 'x');
      await store().snapshot(name, etag, signal);
      await store().remove(name, { ifEtag: etag }, signal);
      await expect(readText(name)).rejects.toMatchObject(NOT_FOUND);
      expect(await names(name, { snapshots: true })).toEqual([]);
      await store().remove(name, {}, signal);
      await store().remove(name, { ifEtag: etag }, signal);
    }),

    rule('removal', 'remove with an ETag leaves another version alone', async () => {
      const name = fresh('remove-version');
      const { etag } = await putNew(name, 'x');
      await putOver(name, 'y', etag);
      await expect(store().remove(name, { ifEtag: etag }, signal)).rejects.toMatchObject(CONFLICT);
      expect(await readText(name)).toBe('y');
    }),

    rule('removal', 'remove leaves staged blocks of what is no blob yet', async () => {
      const name = fresh('remove-staged');
      const [a = ''] = await stage(name, 'aa');
      await store().remove(name, {}, signal);
      await commit(name, [a], NEW);
      expect(await readText(name)).toBe('aa');
    }),

    rule(
      'lists',
      'committed blobs below the prefix are listed in name order, with time and the ETag of head',
      async () => {
        const root = fresh('list');
        for (const name of ['b', 'a/2', 'a/1', 'a.b', 'A', 'other']) await putNew(`${root}/${name}`, name);
        const items = [];
        for await (const item of store().list(`${root}/a/`, signal)) items.push(item);
        expect(items.map(({ name }) => name)).toEqual([`${root}/a/1`, `${root}/a/2`]);
        expect(items[0]?.etag).toBe((await store().head(`${root}/a/1`, signal))?.etag);
        expect(Math.abs((items[0]?.modifiedAt ?? 0) - Date.now())).toBeLessThan(60_000);
        const inOrder = ['A', 'a.b', 'a/1', 'a/2', 'b', 'other'];
        expect(await names(`${root}/`)).toEqual(inOrder.map((name) => `${root}/${name}`));
        expect(await names(`${root}/nothing`)).toEqual([]);
      },
    ),
  ];
}
