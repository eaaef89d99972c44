import { randomFillSync } from 'node:crypto';

import { expect, test } from 'vitest';

import { createFingerprinter, newFingerprintKey } from '../../src/checkpoint/fingerprint.ts';

const BYTES = 100_000;

function fingerprint(content: Buffer, key: string, piece = content.length): string {
  const fingerprinter = createFingerprinter(Buffer.from(key, 'base64'));
  for (let at = 0; at < content.length; at += piece)
    fingerprinter.update(content.subarray(at, Math.min(content.length, at + piece)));
  return fingerprinter.digest();
}

test('says the same of the same content, however it is cut, and only under the same key', () => {
  const key = newFingerprintKey();
  const content = randomFillSync(Buffer.alloc(BYTES));
  const whole = fingerprint(content, key);
  expect(whole).toMatch(/^[A-Za-z0-9+/]{22}==$/);
  for (const piece of [1000, 4096, 65_536]) expect(fingerprint(content, key, piece)).toBe(whole);
  expect(fingerprint(content, newFingerprintKey())).not.toBe(whole);
});

test('differs for each changed bit, for swapped pages and for another length', () => {
  const key = newFingerprintKey();
  const content = randomFillSync(Buffer.alloc(BYTES));
  const seen = new Set([fingerprint(content, key)]);
  for (let bit = 0; bit < 1000; bit++) {
    const changed = Buffer.from(content);
    const at = (bit * 97) % BYTES;
    changed[at] = (changed[at] ?? 0) ^ (1 << (bit % 8));
    seen.add(fingerprint(changed, key));
  }
  seen.add(fingerprint(Buffer.concat([content.subarray(4096, 8192), content.subarray(0, 4096)]), key));
  seen.add(fingerprint(content.subarray(0, -1), key));
  seen.add(fingerprint(Buffer.concat([content, Buffer.alloc(1)]), key));
  expect(seen.size).toBe(1004);
});
