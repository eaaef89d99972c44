import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { blobNameProblem } from '../../src/checkpoint/azure-name.ts';
import { blobNameOf, setPrefix } from '../../src/checkpoint/blob-name.ts';
import { decodePath, encodePath, pathProblem } from '../../src/checkpoint/path-name.ts';

/** Bytes that a Linux file name can have, with the awkward ones often. */
const fileName = fc
  .uint8Array({ minLength: 1, maxLength: 255 })
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x2e : byte))))
  .filter((bytes) => !['.', '..'].includes(bytes.toString('latin1')));

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
        expect(pathProblem(decodePath(name))).toBeUndefined();
      }),
    );
  });
});

describe('the blob name of a path', () => {
  test.each([
    ['models/best.pt', 'files/models/best.pt'],
    ['.hidden/a b', 'files/.hidden/a b'],
    ['100%', 'files/100%25'],
    ['a\\b', 'files/a%5Cb'],
    ['line\nbreak', 'files/line%0Abreak'],
    ['dir./file..', 'files/dir%2E/file.%2E'],
    [' edge ', 'files/%20edge%20'],
    ['a\udcffb', 'files/a%FFb'],
    ['日本/🙂', 'files/日本/🙂'],
    ['no\u00a0break', 'files/no%C2%A0break'],
  ])('%j is %j', (path, name) => {
    expect(blobNameOf(path, 10)).toBe(name);
  });

  test('that would be too long or too deep is a hash', () => {
    const long = `${'x'.repeat(200)}/`.repeat(6);
    expect(blobNameOf(`${long}a`, 10)).toMatch(/^files\/%long\/[0-9a-f]{64}$/);
    expect(blobNameOf(`${long}a`, 10)).not.toBe(blobNameOf(`${long}b`, 10));
    expect(blobNameOf('d/'.repeat(300) + 'f', 10)).toMatch(/^files\/%long\//);
  });

  test('is one that Azure keeps as it is, and no two paths have the same', () => {
    const path = fc
      .array(fileName, { minLength: 1, maxLength: 5 })
      .map((names) => names.map(decodePath).join('/'));
    fc.assert(
      fc.property(path, path, (one, other) => {
        const name = blobNameOf(one, 20);
        expect(blobNameProblem(`${'p'.repeat(19)}/${name}`)).toBeUndefined();
        expect(name === blobNameOf(other, 20)).toBe(one === other);
      }),
      { numRuns: 500 },
    );
  });
});

test.each([
  { prefix: '', key: '', set: 's' },
  { prefix: '', key: 'a/../b', set: 's' },
  { prefix: '', key: '/a', set: 's' },
  { prefix: 'p/', key: 'a', set: 's' },
  { prefix: '', key: 'a\nb', set: 's' },
  { prefix: '', key: 'a', set: 's/t' },
  { prefix: '', key: 'a'.repeat(600), set: 's' },
])('the place %j is refused', (place) => {
  expect(() => setPrefix(place)).toThrow(expect.objectContaining({ code: 'bad-key' }));
});
