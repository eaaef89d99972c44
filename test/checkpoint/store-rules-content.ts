import { getEventListeners } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'vitest';

import { reader } from '../support/checkpoints.ts';
import { pattern, testFolder } from '../support/file-tree.ts';
import {
  NEW,
  type Rule,
  type Subject,
  WRITE_NEW,
  blockId,
  bytes,
  fresh,
  HASH_KEY,
  signal,
  rule,
} from './store-subject.ts';

const ODD_NAMES = [
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
];
const BAD_METADATA = [{ 'a-b': 'x' }, { Upper: 'x' }, { a: 'ü' }, { a: ' x' }, { a: '' }, { a: 'x\ny' }];

/** What is put and read, whole, in parts and under whatever name. */
export function contentRules(subject: Subject): readonly Rule[] {
  const { store, putNew, readText, names } = subject;

  return [
    rule('content', 'what was put comes back, and an empty blob comes back empty', async () => {
      for (const content of ['hello blob', '']) {
        const name = fresh('put');
        await putNew(name, content);
        expect(await readText(name)).toBe(content);
      }
    }),

    rule('ranges', 'a range is read alone, and ends where the blob does', async () => {
      const name = fresh('range');
      await putNew(name, 'hello blob');
      const read = async (offset: number, count: number) =>
        Buffer.from(await store().read(name, { bytesMax: 4, range: { offset, count } }, signal)).toString();
      expect(await read(6, 4)).toBe('blob');
      expect(await read(8, 4)).toBe('ob');
      expect(await read(3, 0)).toBe('');
    }),

    rule('sizes', 'a blob larger than bytesMax is refused', async () => {
      const name = fresh('large');
      await putNew(name, 'x'.repeat(100));
      await expect(store().read(name, { bytesMax: 99 }, signal)).rejects.toMatchObject({ code: 'too-large' });
    }),

    rule('content', 'a missing blob is not-found to read, and undefined to head and blocks', async () => {
      const name = fresh('missing');
      await expect(store().read(name, { bytesMax: 1 }, signal)).rejects.toMatchObject({ code: 'not-found' });
      expect(await store().head(name, signal)).toBeUndefined();
      expect(await store().blocks(name, signal)).toBeUndefined();
    }),

    rule('content', 'the memory of what was sent is the caller\u2019s again', async () => {
      const name = fresh('memory');
      const body = Buffer.from('first');
      await store().put(name, body, WRITE_NEW, signal);
      body.fill('x');
      expect(await readText(name)).toBe('first');
      const block = Buffer.from('second');
      await store().stageBlock(`${name}-blocks`, blockId('second'), block, signal);
      block.fill('x');
      await subject.commit(`${name}-blocks`, [blockId('second')], NEW);
      expect(await readText(`${name}-blocks`)).toBe('second');
    }),

    rule(
      ['ranges', 'snapshots'],
      'a download fills its place in the file and names the first wrong block',
      async () => {
        await using folder = await testFolder();
        const file = join(folder.path, 'file');
        await using handle = await open(file, 'w+');
        const blocks = [pattern(2000, 1), pattern(2000, 2), pattern(3, 3)];
        const name = fresh('download');
        const { etag } = await store().put(name, Buffer.concat(blocks), WRITE_NEW, signal);
        const snapshot = await store().snapshot(name, etag, signal);
        const ids = blocks.map((block) => blockId(block.toString('latin1')));
        const download = (from: number, expected: readonly string[], at = snapshot) => {
          const lengths = blocks.slice(from).map(({ length }) => length);
          const options = {
            snapshot: at,
            offset: from * 2000,
            fd: handle.fd,
            blocks: expected,
            lengths,
            hashKey: HASH_KEY,
            reader,
          };
          return store().download(name, options, signal);
        };
        expect(await download(1, ids.slice(1))).toBeUndefined();
        expect(await readFile(file)).toEqual(Buffer.concat([Buffer.alloc(2000), ...blocks.slice(1)]));
        expect(await download(0, ids)).toBeUndefined();
        expect(await readFile(file)).toEqual(Buffer.concat(blocks));
        expect(await download(0, [ids[0] ?? '', blockId('another'), ids[2] ?? ''])).toBe(1);
        const missing = download(0, ids, '2020-01-01T00:00:00.0000000Z');
        await expect(missing).rejects.toMatchObject({ code: 'not-found' });
      },
    ),

    rule(['names', 'lists'], 'names are kept as they are, in listings too', async () => {
      const root = fresh('odd');
      for (const odd of ODD_NAMES) {
        const name = `${root}/${odd}/${odd}`;
        await putNew(name, odd);
        expect(await readText(name)).toBe(odd);
        expect(await names(name)).toEqual([name]);
      }
    }),

    rule('metadata', 'metadata that would not come back as it is, is refused', async () => {
      for (const metadata of BAD_METADATA) {
        await expect(putNew(fresh('metadata'), 'x', metadata)).rejects.toMatchObject({ code: 'refused' });
      }
    }),

    rule('aborts', 'every call on an aborted signal rejects with aborted', async () => {
      const gone = AbortSignal.abort();
      const all = async () => {
        for await (const item of store().list('x', gone)) return item;
        return undefined;
      };
      const name = fresh('aborted');
      const calls = [
        all(),
        store().read(name, { bytesMax: 1 }, gone),
        store().blocks(name, gone),
        store().stageBlock(name, blockId('x'), bytes('x'), gone),
        store().commitBlocks(name, [], WRITE_NEW, gone),
        store().put(name, bytes('x'), WRITE_NEW, gone),
        store().snapshot(name, '"0x1"', gone),
        store().head(name, gone),
      ];
      for (const outcome of await Promise.allSettled(calls)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'aborted' } });
      }
      expect(await store().blocks(name, signal)).toBeUndefined();
    }),

    rule(['aborts', 'removal'], 'a removal too', async () => {
      const removal = store().remove(fresh('aborted'), {}, AbortSignal.abort());
      await expect(removal).rejects.toMatchObject({ code: 'aborted' });
    }),

    rule('aborts', 'a call in the middle is aborted at once, and nothing goes on listening', async () => {
      const controller = new AbortController();
      const calls = [
        store().head(fresh('aborted'), controller.signal),
        store().put(fresh('aborted'), bytes('x'), WRITE_NEW, controller.signal),
        store().stageBlock(fresh('aborted'), blockId('x'), bytes('x'), controller.signal),
      ];
      const reason = new Error('changed my mind');
      controller.abort(reason);
      for (const outcome of await Promise.allSettled(calls)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'aborted' } });
      }
      const ended = new AbortController();
      await store().head(fresh('ended'), ended.signal);
      await store().put(fresh('ended'), bytes('x'), WRITE_NEW, ended.signal);
      expect(getEventListeners(ended.signal, 'abort')).toEqual([]);
      expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    }),
  ];
}
