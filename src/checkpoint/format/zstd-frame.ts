import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

import { isErrno } from '../../base/errors.ts';

/** Compared with 3, the library's default: twice as fast, and smaller on texts. */
const LEVEL = 1;
/** Level 1 looks back no further than 512 KiB; a frame that wants more memory than this isn't ours. */
const WINDOW_LOG_MAX = 23;

/**
 * One zstd frame. What doesn't get smaller is stored in it as it is, a little larger; see frameBytesMax. It lies in
 * memory of about the content's size: keep a copy of it, not itself.
 */
export function compressFrame(content: Uint8Array): Uint8Array {
  return zstdCompressSync(content, {
    // All of it in one piece.
    chunkSize: Math.max(1024, frameBytesMax(content.length)),
    params: { [constants.ZSTD_c_compressionLevel]: LEVEL },
  });
}

/** The content of a frame; undefined when it isn't one of just `length` bytes. Never takes more memory than for that. */
export function decompressFrame(frame: Uint8Array, length: number): Uint8Array | undefined {
  try {
    const content = zstdDecompressSync(frame, {
      maxOutputLength: Math.max(1, length),
      chunkSize: Math.max(1024, length),
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
    });
    return content.length === length ? content : undefined;
  } catch (error) {
    if (isErrno(error, 'ERR_BUFFER_TOO_LARGE') || isZlibError(error)) return undefined;
    throw error;
  }
}

/** How long the frame of so many bytes can be at most. Source: ZSTD_COMPRESSBOUND in zstd.h. */
export function frameBytesMax(bytes: number): number {
  const small = 128 * 1024;
  return bytes + Math.ceil(bytes / 256) + (bytes < small ? Math.ceil((small - bytes) / 2048) : 0) + 64;
}

function isZlibError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('Z');
}
