import { describe, expect, test } from 'vitest';

import type { Entry } from '../../../src/checkpoint/format/entry.ts';
import { packName } from '../../../src/checkpoint/format/names.ts';
import {
  chunkListPieces,
  cutLeaves,
  cutNodes,
  cutPackUses,
} from '../../../src/checkpoint/format/tree/tree.ts';
import { chunkOf, directoryOf, EPOCH, fileOf, PROCESS } from './tree-rig.ts';

function textOf(pieces: Iterable<{ readonly bytes: Uint8Array }>): string {
  return [...pieces].map(({ bytes }) => Buffer.from(bytes).toString('utf8')).join('---\n');
}

describe('what pieces look like', () => {
  const entries: Entry[] = [
    directoryOf('a'),
    fileOf('a/empty', [], -1n),
    fileOf('a/large', [
      chunkOf(1, 4096),
      chunkOf(2, 4096),
      { plain: 8192 },
      chunkOf(9, 4096, { stored: 100 }),
    ]),
    { type: 'hardlink', path: 'a/same', target: 'a/large' },
    fileOf('line\nbreak', [chunkOf(2000, 5)], 2n ** 63n - 1n),
    { ...directoryOf('link'), type: 'symlink', target: '../\udcff' },
  ];

  test('a leaf', () => {
    expect(textOf(cutLeaves(entries))).toBe(
      String.raw`{"kind":"leaf","packs":["0123456789abcdef-89abcdef-00000001","0123456789abcdef-89abcdef-00000003"],"attributes":[[493,1000,100],[420,1000,100]],"folders":["","a"],"rows":[
["directory",0,"a",0,"1"],
["file",1,"empty",1,"-1"],
["file",1,"large",1,"1",["00000000000000000000000000000001",4096,4096,0,4096],["00000000000000000000000000000002",4096],8192,["00000000000000000000000000000009",4096,100,0,36864]],
["hardlink",1,"same","a/large"],
["file",0,"line\nbreak",1,"9223372036854775807",["000000000000000000000000000007d0",5,5,1,0]],
["symlink",0,"link",0,"1","../\udcff"]]}
`,
    );
  });

  test('a node', () => {
    const children = [
      { first: 'a', ref: chunkOf(0, 5000, { stored: 900 }) },
      { first: 'b/\udcff', ref: chunkOf(1, 6000, { stored: 800, offset: 900 }) },
      { first: 'c', ref: chunkOf(2, 700, { offset: 1700 }) },
    ];
    expect(textOf(cutNodes(children))).toBe(
      String.raw`{"kind":"node","packs":["0123456789abcdef-89abcdef-00000001"],"rows":[
["a",["00000000000000000000000000000000",5000,900,0,0]],
["b/\udcff",["00000000000000000000000000000001",6000,800]],
["c",["00000000000000000000000000000002",700]]]}
`,
    );
  });

  test('a file of many chunks, and their list', () => {
    const file = {
      ...fileOf('a'),
      size: 2049 * 4096,
      chunkCount: 2049,
      lists: [chunkOf(1, 90_000), chunkOf(2, 80)],
    };
    expect(textOf(cutLeaves([file]))).toContain(
      '\n["long",0,"a",0,"1",8392704,2049,["00000000000000000000000000000001",90000,90000,0,4096],["00000000000000000000000000000002",80,80,0,8192]]]}',
    );
    const lists = [...chunkListPieces([chunkOf(0), chunkOf(1), { plain: 4096 }])];
    expect(textOf(lists.map((bytes) => ({ bytes })))).toBe(
      `{"kind":"chunks","packs":["0123456789abcdef-89abcdef-00000001"],"rows":[
["00000000000000000000000000000000",4096,4096,0,0],
["00000000000000000000000000000001",4096],
4096]}
`,
    );
  });

  test('a table of data packs', () => {
    const rows = [1, 2].map((seq) => ({
      name: packName(EPOCH, PROCESS, seq),
      bytes: 8_400_000,
      used: 5_000_000 * seq,
    }));
    expect(textOf(cutPackUses(rows))).toBe(
      `{"kind":"packs","rows":[
["0123456789abcdef-89abcdef-00000001",8400000,5000000],
["0123456789abcdef-89abcdef-00000002",8400000,10000000]]}
`,
    );
  });
});
