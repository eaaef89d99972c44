import { createCipheriv, randomBytes } from 'node:crypto';

/** Tells two contents of a block apart at the speed of memory. Local only: what a block is called by is its sha256. */
export interface Fingerprinter {
  update(piece: Uint8Array): void;
  /** base64, 24 characters. */
  digest(): string;
}

const NONCE = Buffer.alloc(12);

/**
 * GMAC: the tag that AES-GCM makes of data that it only authenticates. Processors multiply in its field by an
 * instruction, so that it runs at 15 GB/s and more, ten times as fast as sha256. Under a random key two different
 * blocks of n bytes have the same tag with a probability of n / 2^132 (2^-110 for 4 MiB): a changed block is never
 * overlooked. The nonce is the same for all blocks, which is right for telling contents apart and wrong for proving
 * anything to others: tags and key stay in the file index, and nobody else ever sees them.
 * Source: NIST SP 800-38D.
 */
export function createFingerprinter(key: Uint8Array): Fingerprinter {
  const cipher = createCipheriv('aes-128-gcm', key, NONCE);
  return {
    update: (piece) => void cipher.setAAD(piece),
    digest() {
      cipher.final();
      return cipher.getAuthTag().toString('base64');
    },
  };
}

/** base64, 24 characters. */
export function newFingerprintKey(): string {
  return randomBytes(16).toString('base64');
}
