import { randomFillSync } from 'node:crypto';

import { expect, test } from 'vitest';

import { blockIdOf, createBlockHash, newHashKey } from '../../src/checkpoint/block-id.ts';

const BYTES = 100_000;

test('it is GMAC: what the standard says of no content under the key of zeros', () => {
  // NIST, The Galois/Counter Mode of Operation, test case 1.
  const tag = Buffer.from('58e2fccefa7e3061367f1d57a4e7455a', 'hex').toString('base64');
  expect(blockIdOf(Buffer.alloc(0), Buffer.alloc(16).toString('base64'))).toBe(tag);
});

test('says the same of the same content, however it is cut, and only under the same key', () => {
  const key = newHashKey();
  const content = randomFillSync(Buffer.alloc(BYTES));
  const whole = blockIdOf(content, key);
  expect(whole).toMatch(/^[A-Za-z0-9+/]{22}==$/);
  for (const piece of [1000, 4096, 65_536]) {
    const hash = createBlockHash(key);
    for (let at = 0; at < BYTES; at += piece) hash.update(content.subarray(at, Math.min(BYTES, at + piece)));
    expect(hash.digest()).toBe(whole);
  }
  expect(blockIdOf(content, newHashKey())).not.toBe(whole);
});

test('differs for each changed bit, for swapped pages and for another length', () => {
  const key = newHashKey();
  const content = randomFillSync(Buffer.alloc(BYTES));
  const seen = new Set([blockIdOf(content, key)]);
  for (let bit = 0; bit < 1000; bit++) {
    const changed = Buffer.from(content);
    const at = (bit * 97) % BYTES;
    changed[at] = (changed[at] ?? 0) ^ (1 << (bit % 8));
    seen.add(blockIdOf(changed, key));
  }
  seen.add(blockIdOf(Buffer.concat([content.subarray(4096, 8192), content.subarray(0, 4096)]), key));
  seen.add(blockIdOf(content.subarray(0, -1), key));
  seen.add(blockIdOf(Buffer.concat([content, Buffer.alloc(1)]), key));
  expect(seen.size).toBe(1004);
});

test('zeros have an id for each length', () => {
  const key = newHashKey();
  const lengths = [0, 1, 15, 16, 17, 4096, 8192];
  expect(new Set(lengths.map((length) => blockIdOf(Buffer.alloc(length), key))).size).toBe(lengths.length);
});
