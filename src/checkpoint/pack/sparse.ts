/* Of unistd.h, Linux. */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

type Seek = (fd: number, offset: bigint, whence: number) => bigint;

let seek: Seek | undefined;

/**
 * Where data begins in an open file, at `from` or after it; `end` where there is none before that. Without a way to ask
 * (Node before 26.1, a C library that is not to be found, a file system that doesn't know) data is everywhere.
 * Source: lseek(2). It moves the offset of the descriptor, which readSync with a position doesn't look at.
 */
export function nextData(fd: number, from: number, end: number): number {
  seek ??= findSeek();
  const data = seek(fd, BigInt(from), SEEK_DATA);
  if (data >= 0n) return Math.min(Number(data), end);
  // ENXIO: `from` is in the hole that ends the file, or behind the file. Any other failure finds no hole either.
  return seek(fd, BigInt(from), SEEK_HOLE) === BigInt(from) ? end : from;
}

function findSeek(): Seek {
  try {
    const ffi = process.getBuiltinModule('node:ffi');
    const { functions } = ffi.dlopen(null, {
      lseek: { arguments: ['int32', 'int64', 'int32'], return: 'int64' },
    });
    return functions.lseek;
  } catch {
    // Holes are read then, which takes longer and gives the same.
    return (_fd, offset) => offset;
  }
}
