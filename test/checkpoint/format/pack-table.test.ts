import { randomBytes } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import { encodePackEnd, packEndBytes } from '../../../src/checkpoint/format/pack-table.ts';
import type { PackTableRow } from '../../../src/checkpoint/format/pack-table.ts';
import { decodePackEnd, FOOTER_BYTES, packEndBytesOf } from '../../support/pack-end.ts';

const NAME = 'p/k/sets/s/packs/0123456789abcdef-89abcdef-00000001';

const rows = fc
  .array(
    fc.record({
      id: fc.stringMatching(/^[0-9a-f]{32}$/),
      kind: fc.constantFrom('data', 'meta'),
      gap: fc.integer({ min: 0, max: 3 }),
      stored: fc.integer({ min: 1, max: 1000 }),
      saved: fc.integer({ min: 0, max: 1000 }),
    }),
    { maxLength: 40 },
  )
  .map((list) => {
    let end = 0;
    return list.map(({ id, kind, gap, stored, saved }): PackTableRow => {
      const offset = end + gap;
      end = offset + stored;
      return { id, kind, offset, stored, plain: stored + saved };
    });
  });

function packOf(rows: readonly PackTableRow[]): Buffer {
  const last = rows.at(-1);
  return Buffer.concat([
    Buffer.alloc(last === undefined ? 0 : last.offset + last.stored, 0x5a),
    encodePackEnd(rows),
  ]);
}

const isBadPack = expect.objectContaining({ code: 'bad-pack', message: expect.stringContaining(NAME) });

test('the end of a pack, byte by byte', () => {
  // Of the rows and the eight bytes that follow, worked out by Python's hashlib.
  const sha256 = '1179e8c81d9fda5ce7a3816d7ff2a9d5a699ada25cc7ddbd4826f55bbebcf7a8';
  const end = encodePackEnd([
    { id: '000102030405060708090a0b0c0d0e0f', kind: 'data', offset: 0, stored: 0x1234, plain: 0x10_0000 },
    { id: 'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', kind: 'meta', offset: 0x1234, stored: 5, plain: 5 },
  ]);
  expect(end.toString('hex').match(/.{8}/g)?.join(' ')).toBe(
    [
      '00010203 04050607 08090a0b 0c0d0e0f 00000000 34120000 00001000 00000000',
      'f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff 34120000 05000000 05000000 01000000',
      '02000000 01000000',
      sha256.match(/.{8}/g)?.join(' '),
      '65766963 7464706b',
    ].join(' '),
  );
  expect(end).toHaveLength(packEndBytes(2));
});

describe('the table of a pack', () => {
  test('is read back from any tail that holds it', () => {
    fc.assert(
      fc.property(rows, fc.nat(), (rows, more) => {
        const pack = packOf(rows);
        const end = packEndBytes(rows.length);
        const tail = pack.subarray(pack.length - Math.min(pack.length, end + more));
        expect(packEndBytesOf(tail.subarray(-FOOTER_BYTES), pack.length, NAME)).toBe(end);
        expect(decodePackEnd(tail, pack.length, NAME)).toEqual(rows);
      }),
    );
  });

  test('with any byte changed is refused', () => {
    fc.assert(
      fc.property(rows, fc.nat(), fc.integer({ min: 1, max: 255 }), (rows, pick, change) => {
        const pack = packOf(rows);
        const at = pack.length - 1 - (pick % packEndBytes(rows.length));
        pack[at] = (pack[at] ?? 0) ^ change;
        expect(() => decodePackEnd(pack, pack.length, NAME)).toThrow(isBadPack);
      }),
      { numRuns: 300 },
    );
  });

  test('that was cut, or is of a pack of another length, is refused', () => {
    fc.assert(
      fc.property(rows, fc.nat(), (rows, pick) => {
        const pack = packOf(rows);
        const cut = pack.subarray(0, pick % pack.length);
        expect(() => decodePackEnd(cut, cut.length, NAME)).toThrow(isBadPack);
        const end = encodePackEnd(rows);
        expect(() => decodePackEnd(end.subarray(1), pack.length, NAME)).toThrow(isBadPack);
        if (rows.length > 0) expect(() => decodePackEnd(end, end.length, NAME)).toThrow(isBadPack);
      }),
    );
  });

  test("that is somebody else's making says what can be, or is refused", () => {
    const number = fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
    const row = fc.record({
      id: fc.constant('0'.repeat(32)),
      kind: fc.constantFrom('data', 'meta'),
      offset: number,
      stored: number,
      plain: number,
    });
    fc.assert(
      fc.property(fc.array(row, { maxLength: 3 }), fc.integer({ min: 0, max: 60 }), (rows, data) => {
        const pack = Buffer.concat([Buffer.alloc(data), encodePackEnd(rows)]);
        try {
          let end = 0;
          for (const { offset, stored, plain } of decodePackEnd(pack, pack.length, NAME)) {
            expect(offset).toBeGreaterThanOrEqual(end);
            expect(stored).toBeGreaterThan(0);
            expect(plain).toBeGreaterThanOrEqual(stored);
            end = offset + stored;
          }
          expect(end).toBeLessThanOrEqual(data);
        } catch (error) {
          if (!(error instanceof EvictdError)) throw error;
          expect(error).toEqual(isBadPack);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('of random bytes is refused', () => {
    for (const length of [0, 1, 47, 48, 100, 4096]) {
      expect(() => decodePackEnd(randomBytes(length), length, NAME)).toThrow(isBadPack);
    }
  });

  test('that says it has four billion rows is refused before memory is taken', () => {
    const end = encodePackEnd([]);
    end.writeUInt32LE(0xffff_ffff, 0);
    expect(() => decodePackEnd(end, 2 ** 30, NAME)).toThrow(isBadPack);
  });
});
