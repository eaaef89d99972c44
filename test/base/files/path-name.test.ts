import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { entryProblem } from '../../../src/checkpoint/format/entry-problem.ts';
import { createPathMarks } from '../../../src/checkpoint/format/tree/path-marks.ts';
import { decodePath, encodePath, pathProblem, splitPath } from '../../../src/base/files/path-name.ts';
import { comparePaths } from '../../../src/checkpoint/format/path-order.ts';
import {
  anyPath,
  chunkOf,
  compareBySegments,
  directoryOf,
  fileName,
  fileOf,
} from '../../checkpoint/format/tree-rig.ts';

describe('a path as a string', () => {
  test('holds any bytes, also through JSON', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const path = decodePath(Buffer.from(bytes));
        // JSON.parse of a JSON string.
        expect(encodePath(JSON.parse(JSON.stringify(path)) as string)).toEqual(Buffer.from(bytes));
      }),
    );
  });

  test.each([
    [Buffer.from('naïve/日本/🙂'), 'naïve/日本/🙂'],
    [Buffer.from('a\uFFFDb'), 'a\uFFFDb'],
    [Buffer.from([0x61, 0xff, 0x62]), 'a\udcffb'],
    [Buffer.from([0xe6, 0x97]), '\udce6\udc97'],
    [Buffer.from([0xed, 0xa0, 0x80]), '\udced\udca0\udc80'],
    [Buffer.from([0xc0, 0xaf]), '\udcc0\udcaf'],
  ])('%j', (bytes, path) => {
    expect(decodePath(bytes)).toBe(path);
    expect(encodePath(path)).toEqual(bytes);
  });

  test('of a scanned file has no problem', () => {
    fc.assert(
      fc.property(fileName, (name) => {
        expect(pathProblem(name)).toBeUndefined();
      }),
    );
  });

  test('whatever it is, a problem is told or its bytes are those of no other', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 20 }),
        fc.array(fc.integer({ min: 0xd800, max: 0xdfff })),
        (text, units) => {
          const path = text + String.fromCharCode(...units);
          if (pathProblem(path) === undefined) expect(decodePath(encodePath(path))).toBe(path);
        },
      ),
    );
  });

  test.each([
    ['', 'empty'],
    ['/a', 'absolute'],
    ['a//b', 'empty segment'],
    ['a/', 'empty segment'],
    ['a/../b', 'segment ..'],
    ['./a', 'segment .'],
    ['a\0', 'NUL'],
    ['a\ud800', 'surrogate'],
    ['a\udc41', 'surrogate'],
    ['\udcf0\udc9f\udc99\udc82', 'spelled'],
    ['x'.repeat(256), 'name longer than 255 bytes'],
    ['日'.repeat(86), 'name longer than 255 bytes'],
    [`${'x'.repeat(200)}/`.repeat(21), 'longer than 4095 bytes'],
    [`${'日'.repeat(80)}/`.repeat(17), 'longer than 4095 bytes'],
  ])('that would be unsafe is refused: %#', (path, why) => {
    expect(pathProblem(path)).toContain(why);
  });

  test('is split at its last slash', () => {
    expect(splitPath('a/b/c')).toEqual({ folder: 'a/b', name: 'c' });
    expect(splitPath('a')).toEqual({ folder: '', name: 'a' });
  });
});

describe('the order of paths', () => {
  test('is that of bytes, folder by folder', () => {
    fc.assert(
      fc.property(anyPath, anyPath, (one, other) => {
        expect(Math.sign(comparePaths(one, other))).toBe(Math.sign(compareBySegments(one, other)));
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['a', 'a/b'],
    ['a/b', 'a!'],
    ['a/z', 'a-b'],
    ['\uffff', '🙂'],
    ['🙂', '🙃'],
    ['é', '\udcff'],
    ['\udce6\udc97', '日'],
    ['\udce6/x', '日'],
  ])('%j is before %j', (one, other) => {
    expect(comparePaths(one, other)).toBeLessThan(0);
    expect(comparePaths(other, one)).toBeGreaterThan(0);
    expect(comparePaths(one, one)).toBe(0);
  });
});

test('marks say of each path whether it was added', () => {
  fc.assert(
    fc.property(fc.uniqueArray(anyPath, { minLength: 2 }), (paths) => {
      const marks = createPathMarks();
      for (const path of paths.slice(1)) marks.add(path);
      expect(paths.map((path) => marks.has(path))).toEqual(paths.map((_, index) => index > 0));
    }),
  );
  const marks = createPathMarks();
  for (let index = 0; index < 5000; index++) marks.add(`some/file-${index}`);
  for (let index = 0; index < 5000; index++) marks.add(`some/file-${index}`);
  expect(Array.from({ length: 5000 }, (_, index) => marks.has(`some/file-${index}`))).not.toContain(false);
  expect(Array.from({ length: 5000 }, (_, index) => marks.has(`other/file-${index}`))).not.toContain(true);
});

describe('an entry', () => {
  const link = { ...directoryOf('a'), type: 'symlink', target: 'b' } as const;

  test.each([
    fileOf('a', [chunkOf(1), { plain: 4096 }]),
    fileOf('a', [], -(2n ** 63n)),
    { ...fileOf('a'), mode: 0o7777, uid: 2 ** 32 - 2 },
    link,
    { type: 'hardlink', path: 'b', target: 'a' } as const,
  ])('that is fine: %#', (entry) => {
    expect(entryProblem(entry)).toBeUndefined();
  });

  test.each([
    [fileOf('../a'), 'its path'],
    [fileOf('a', [], 2n ** 63n), 'its time'],
    [{ ...directoryOf('a'), mode: 0o10000 }, 'its mode'],
    [{ ...directoryOf('a'), uid: 2 ** 32 - 1 }, 'its owner'],
    [{ ...directoryOf('a'), gid: -1 }, 'its group'],
    [{ ...directoryOf('a'), gid: 0.5 }, 'its group'],
    [{ ...fileOf('a', [chunkOf(1)]), size: 4095 } as const, 'its chunks have 4096 bytes'],
    [{ ...fileOf('a', [{ plain: 2 ** 53 }]) } as const, 'its size'],
    [fileOf('a', [{ plain: 0 }]), 'a chunk of 0 bytes'],
    [fileOf('a', [chunkOf(1, 10, { stored: 11 })]), 'stored as 11'],
    [{ ...link, target: '' }, 'its target is empty'],
    [{ ...link, target: 'a\0' }, 'its target holds a NUL'],
    [{ ...link, target: 'x'.repeat(4096) }, 'its target is longer'],
    [{ ...link, target: '\ud800' }, 'its target holds a surrogate'],
    [{ type: 'hardlink', path: 'b', target: 'c' } as const, 'comes after it'],
    [{ type: 'hardlink', path: 'b', target: 'b' } as const, 'comes after it'],
    [{ type: 'hardlink', path: 'b', target: '/a' } as const, 'is absolute'],
  ])('that is refused: %#', (entry, why) => {
    expect(entryProblem(entry)).toContain(why);
  });
});
