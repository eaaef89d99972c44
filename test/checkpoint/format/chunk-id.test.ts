import { createHmac, randomFillSync } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { chunkIdOf, createChunkHash, isZero, newHashKey } from '../../../src/checkpoint/format/chunk-id.ts';
import { compressFrame, decompressFrame, frameBytesMax } from '../../../src/checkpoint/format/zstd-frame.ts';

const BYTES = 100_000;
const NAMES = ['gmac-128', 'sha256-128'] as const;

test('gmac-128 is GMAC: what the standard says of no content under the key of zeros', () => {
  // NIST, The Galois/Counter Mode of Operation, test case 1.
  const spec = { name: 'gmac-128', key: Buffer.alloc(16).toString('base64') } as const;
  expect(chunkIdOf(Buffer.alloc(0), spec)).toBe('58e2fccefa7e3061367f1d57a4e7455a');
});

test('sha256-128 is the first half of HMAC-SHA256', () => {
  const key = newHashKey();
  const content = randomFillSync(Buffer.alloc(BYTES));
  const whole = createHmac('sha256', Buffer.from(key, 'base64')).update(content).digest('hex');
  expect(chunkIdOf(content, { name: 'sha256-128', key })).toBe(whole.slice(0, 32));
});

describe.each(NAMES)('%s', (name) => {
  const spec = { name, key: newHashKey() };
  const content = randomFillSync(Buffer.alloc(BYTES));

  test('says the same of the same content, however it is cut, and only under the same key', () => {
    const whole = chunkIdOf(content, spec);
    expect(whole).toMatch(/^[0-9a-f]{32}$/);
    for (const piece of [1000, 4096, 65_536]) {
      const hash = createChunkHash(spec);
      for (let at = 0; at < BYTES; at += piece)
        hash.update(content.subarray(at, Math.min(BYTES, at + piece)));
      expect(hash.digest()).toBe(whole);
    }
    expect(chunkIdOf(content, { name, key: newHashKey() })).not.toBe(whole);
  });

  test('differs for each changed bit, for swapped pages and for another length', () => {
    const seen = new Set([chunkIdOf(content, spec)]);
    for (let bit = 0; bit < 1000; bit++) {
      const changed = Buffer.from(content);
      const at = (bit * 97) % BYTES;
      changed[at] = (changed[at] ?? 0) ^ (1 << (bit % 8));
      seen.add(chunkIdOf(changed, spec));
    }
    seen.add(chunkIdOf(Buffer.concat([content.subarray(4096, 8192), content.subarray(0, 4096)]), spec));
    seen.add(chunkIdOf(content.subarray(0, -1), spec));
    seen.add(chunkIdOf(Buffer.concat([content, Buffer.alloc(1)]), spec));
    expect(seen.size).toBe(1004);
  });
});

test('zeros are told from everything else', () => {
  for (const length of [0, 1, 2, 15, 16, 4096, 4097]) {
    expect(isZero(Buffer.alloc(length))).toBe(true);
    for (const at of new Set([0, 1, length >> 1, length - 1])) {
      if (at >= length || at < 0) continue;
      const other = Buffer.alloc(length);
      other[at] = 1;
      expect(isZero(other)).toBe(false);
    }
  }
  expect(isZero(Buffer.alloc(4096, 1))).toBe(false);
});

describe('a zstd frame', () => {
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 3000 }),
    fc
      .tuple(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 2000 }))
      .map(([bytes, times]) => Buffer.concat(Array.from({ length: times }, () => bytes))),
  );

  test('gives back its content, and is never longer than said', () => {
    fc.assert(
      fc.property(content, (bytes) => {
        const frame = compressFrame(bytes);
        expect(frame.length).toBeLessThanOrEqual(frameBytesMax(bytes.length));
        expect(decompressFrame(frame, bytes.length)).toEqual(Buffer.from(bytes));
      }),
    );
  });

  test('of another length, cut, or followed by something is none', () => {
    fc.assert(
      fc.property(content, fc.nat(), (bytes, pick) => {
        const frame = compressFrame(bytes);
        expect(decompressFrame(frame, bytes.length + 1)).toBeUndefined();
        if (bytes.length > 0) expect(decompressFrame(frame, bytes.length - 1)).toBeUndefined();
        expect(decompressFrame(frame.subarray(0, pick % frame.length), bytes.length)).toBeUndefined();
      }),
    );
  });

  test('with a changed byte never takes more memory than said, and throws nothing', () => {
    fc.assert(
      fc.property(content, fc.nat(), fc.integer({ min: 1, max: 255 }), (bytes, pick, change) => {
        const frame = Buffer.from(compressFrame(bytes));
        const at = pick % frame.length;
        frame[at] = (frame[at] ?? 0) ^ change;
        const read = decompressFrame(frame, bytes.length);
        if (read !== undefined) expect(read).toHaveLength(bytes.length);
      }),
      { numRuns: 500 },
    );
    const bomb = compressFrame(Buffer.alloc(64 * 1024 ** 2));
    expect(decompressFrame(bomb, 1024)).toBeUndefined();
  });
});
