import fc from 'fast-check';
import { expect, test } from 'vitest';

import type { FileChunk } from '../../../src/checkpoint/format/chunk.ts';
import { isStored } from '../../../src/checkpoint/format/chunk.ts';
import { bytesOf, mergeHoles, replaceRange, withoutGone } from '../../../src/checkpoint/index/chunk-range.ts';
import { LOST_ID } from '../../../src/checkpoint/index/record.ts';

const piece: fc.Arbitrary<FileChunk> = fc.oneof(
  fc.record({ plain: fc.integer({ min: 1, max: 9 }) }),
  fc.record({
    id: fc.constantFrom('a', 'b', LOST_ID),
    plain: fc.integer({ min: 1, max: 9 }),
    pack: fc.constantFrom('p', 'q', 'r'),
    offset: fc.nat({ max: 5 }),
    stored: fc.constant(1),
  }),
);
const pieces = fc.array(piece, { maxLength: 12 });

/** For each byte what it is: of a hole, of which chunk and how far in it, or of nothing that the store has. */
function bytes(chunks: readonly FileChunk[]): string[] {
  return chunks.flatMap((one, index) =>
    Array.from({ length: one.plain }, (_, at) => {
      if (!isStored(one)) return 'hole';
      return one.id === LOST_ID
        ? 'lost'
        : `${one.id} ${one.pack} ${one.offset} ${at}/${one.plain} of ${index}`;
    }),
  );
}

const withoutIndex = (text: string) => text.replace(/ of \d+$/, '');

test('a range that is replaced has what replaces it, and around it is what was there, or nothing that counts', () => {
  fc.assert(
    fc.property(pieces, fc.nat({ max: 60 }), pieces, (chunks, from, replacement) => {
      const found = replaceRange(chunks, from, replacement);
      const before = bytes(chunks);
      const inner = bytes(replacement);
      fc.pre(inner.length > 0);
      const to = from + inner.length;
      const after = bytes(found);
      expect(after).toHaveLength(Math.max(before.length, to));
      expect(after.slice(from, to).map(withoutIndex)).toEqual(inner.map(withoutIndex));
      for (const [at, one] of after.entries()) {
        if (at >= from && at < to) continue;
        expect([withoutIndex(before[at] ?? 'lost'), 'lost']).toContain(withoutIndex(one));
        // Whole chunks that it doesn't touch stay.
        const old = before[at] ?? '';
        const isTouched = before.some(
          (other, place) => other.split(' of ')[1] === old.split(' of ')[1] && place >= from && place < to,
        );
        if (old.includes(' of ') && !isTouched) expect(withoutIndex(one)).toBe(withoutIndex(old));
      }
      expect(found.every(({ plain }) => plain > 0)).toBe(true);
    }),
  );
});

test('holes that follow each other become one, and the bytes stay the same', () => {
  fc.assert(
    fc.property(pieces, (chunks) => {
      const merged = mergeHoles(chunks);
      expect(bytesOf(merged)).toBe(bytesOf(chunks));
      expect(bytes(merged).map(withoutIndex)).toEqual(bytes(chunks).map(withoutIndex));
      expect(merged.some((one, at) => !isStored(one) && at > 0 && !isStored(merged[at - 1] ?? one))).toBe(
        false,
      );
    }),
  );
});

test('chunks of packs that are gone count as lost, and nothing else changes', () => {
  fc.assert(
    fc.property(pieces, fc.subarray(['p', 'q', 'r']), (chunks, there) => {
      const found = withoutGone(chunks, ({ pack }) => there.includes(pack));
      if (chunks.every((one) => !isStored(one) || one.id === LOST_ID || there.includes(one.pack))) {
        expect(found).toBe(chunks);
      }
      expect(found).toEqual(
        chunks.map((one) => (isStored(one) && !there.includes(one.pack) ? { ...one, id: LOST_ID } : one)),
      );
    }),
  );
});
