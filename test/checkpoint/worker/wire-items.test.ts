import { expect, test } from 'vitest';

import type { ItemResult, SendItem } from '../../../src/checkpoint/pack/sender.ts';
import {
  fromWireItems,
  fromWireResults,
  toWireItems,
  toWireResults,
} from '../../../src/checkpoint/worker/wire-items.ts';

const chunk = (id: string, pack: string) => ({ id, pack, plain: 10, stored: 5, offset: 2 ** 33 });
const stat = { size: 3, mtimeNs: -5n, ctimeNs: 7n, ino: 2n ** 62n, dev: 9n };
const read = {
  kind: 'read',
  before: stat,
  after: stat,
  isUnlinked: false,
  beganAt: 1.25,
  chunks: [],
  packs: [],
  bytesNew: 0,
} satisfies ItemResult;

test('what is asked of many files arrives as it was', () => {
  const items: SendItem[] = [
    { path: 'a', from: 0, to: 0, size: 0, known: [] },
    { path: 'b/\udc80 and a space,', from: 2 ** 40, to: 2 ** 41, size: 2 ** 42, known: [{ plain: 7 }] },
    { path: 'c', from: 0, to: 20, size: 20, known: [chunk('', 'p1'), chunk('0f', 'p2'), { plain: 3 }] },
    { path: 'd', from: 0, to: 20, size: 20, known: [chunk('aa', 'p1')] },
  ];
  expect(fromWireItems(toWireItems(items))).toEqual(items);
  expect(fromWireItems(toWireItems([]))).toEqual([]);
});

test('what is answered of them does as well', () => {
  const results: ItemResult[] = [
    read,
    { kind: 'gone' },
    { ...read, chunks: [chunk('aa', 'p1'), { plain: 4 }], packs: ['p1'], bytesNew: 10 },
    { kind: 'failed', errno: 'EIO', message: 'broken' },
    {
      ...read,
      after: { ...stat, size: 4 },
      isUnlinked: true,
      packs: ['p1', 'p2'],
      chunks: [chunk('', 'p2')],
    },
  ];
  expect(fromWireResults(structuredClone(toWireResults(results)))).toEqual(results);
  expect(fromWireResults(toWireResults([]))).toEqual([]);
});
