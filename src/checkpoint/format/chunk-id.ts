import { createCipheriv, createHmac, randomBytes } from 'node:crypto';

import type { ChunkId, HashSpec, StoredChunk } from './chunk.ts';
import { decompressFrame } from './zstd-frame.ts';

/** Works out a chunk's id while its content passes by. */
export interface ChunkHash {
  update(bytes: Uint8Array): void;
  digest(): ChunkId;
}

const ID_BYTES = 16;
const KEY_BYTES = 16;
const NONCE = Buffer.alloc(12);

/**
 * A chunk's id: a keyed hash of its content, 16 bytes in hex. It tells a change and damage; it is no address of content.
 *
 * `gmac-128` is the tag that AES-GCM makes of data that it only authenticates. Processors multiply in its field by an
 * instruction, so it runs at several GB/s, many times as fast as sha256 where that has no instruction: all of a file can
 * be looked at for changes, and checked after a restore, at the speed of memory. Under a key that whoever wrote the
 * content didn't know, two different chunks of n bytes have the same id with a probability of at most n / 2^132 (2^-112
 * for 1 MiB), which is proven and not just hoped for. The nonce is the same for all chunks, which is right for telling
 * contents apart and wrong for proving anything: who can read the store can also find two contents with one id, as they
 * can read the key. `openssl mac -cipher AES-128-GCM` works it out as well. Source: NIST SP 800-38D.
 *
 * `sha256-128` is the first half of HMAC-SHA256: slower, and two contents with one id can't be found by anybody.
 */
export function createChunkHash({ name, key }: HashSpec): ChunkHash {
  if (name === 'sha256-128') {
    const hmac = createHmac('sha256', secretOf(key));
    return {
      update: (bytes) => void hmac.update(bytes),
      digest: () => hmac.digest().toString('hex', 0, ID_BYTES),
    };
  }
  const cipher = createCipheriv('aes-128-gcm', secretOf(key), NONCE);
  return {
    update: (bytes) => void cipher.setAAD(bytes),
    digest() {
      cipher.final();
      return cipher.getAuthTag().toString('hex');
    },
  };
}

export function chunkIdOf(bytes: Uint8Array, spec: HashSpec): ChunkId {
  const chunkHash = createChunkHash(spec);
  chunkHash.update(bytes);
  return chunkHash.digest();
}

/** The content of a chunk from its bytes in a pack; undefined: it isn't what its id says. */
export function contentOf(
  bytes: Uint8Array,
  { id, plain, stored }: Pick<StoredChunk, 'id' | 'plain' | 'stored'>,
  hash: HashSpec,
): Uint8Array | undefined {
  const content = stored < plain ? decompressFrame(bytes, plain) : bytes;
  return content?.length === plain && chunkIdOf(content, hash) === id ? content : undefined;
}

/** Of small files there are thousands a second, all of one set. */
let last = { key: '', secret: Buffer.alloc(0) };

function secretOf(key: string): Buffer {
  if (last.key !== key) last = { key, secret: Buffer.from(key, 'base64') };
  return last.secret;
}

/** base64 of 16 bytes. */
export function newHashKey(): string {
  return randomBytes(KEY_BYTES).toString('base64');
}

/** Nothing but zeros; true of no bytes at all. */
export function isZero(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return true;
  // Each byte is the one before it, and the first one is 0: one pass by the C library.
  return bytes[0] === 0 && Buffer.compare(bytes.subarray(1), bytes.subarray(0, -1)) === 0;
}
