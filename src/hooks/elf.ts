import { open } from 'node:fs/promises';

/** What the kernel goes by when it is to execute a binary; elf(5). */
export interface Elf {
  readonly bits: 32 | 64;
  readonly order: 'little' | 'big';
  /** `e_machine`: 62 is x86-64, 183 AArch64. */
  readonly machine: number;
  /** Not an object file, a library's archive member or a core. */
  readonly isProgram: boolean;
  /** Whose path is in the file, of dynamically linked ones. */
  readonly loader: string | undefined;
}

const HEADER_BYTES = 64;
const SEGMENTS_MAX = 512;
const LOADER_BYTES_MAX = 4096;
const EXECUTABLE = 2;
const SHARED = 3;
const INTERPRETER = 3;

/** Undefined for a file that is none, or that ends before what it promises. */
export async function readElf(file: string): Promise<Elf | undefined> {
  await using handle = await open(file, 'r');
  const read = async (length: number, at: number) => {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, at);
    return buffer.subarray(0, bytesRead);
  };
  const header = await read(HEADER_BYTES, 0);
  if (header.length < HEADER_BYTES || header.toString('latin1', 0, 4) !== '\x7fELF') return undefined;
  const bits = header[4] === 2 ? 64 : 32;
  const order = header[5] === 2 ? 'big' : 'little';
  const { half, word, offset } = reader(order, bits);
  const type = half(header, 16);
  const size = half(header, bits === 64 ? 54 : 42);
  const count = Math.min(half(header, bits === 64 ? 56 : 44), SEGMENTS_MAX);
  const segments = await read(size * count, offset(header, bits === 64 ? 32 : 28));
  if (size < 32 || segments.length < size * count) return undefined;
  const found = Array.from({ length: count }, (_, n) => segments.subarray(n * size, (n + 1) * size)).find(
    (segment) => word(segment, 0) === INTERPRETER,
  );
  const elf = {
    bits,
    order,
    machine: half(header, 18),
    isProgram: type === EXECUTABLE || type === SHARED,
  } as const;
  if (found === undefined) return { ...elf, loader: undefined };
  const length = Math.min(offset(found, bits === 64 ? 32 : 16), LOADER_BYTES_MAX);
  const path = await read(length, offset(found, bits === 64 ? 8 : 4));
  return { ...elf, loader: path.toString('utf8').replace(/\0.*$/s, '') };
}

function reader(order: Elf['order'], bits: Elf['bits']) {
  const isLittle = order === 'little';
  const half = (bytes: Buffer, at: number) => (isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const word = (bytes: Buffer, at: number) => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const wide = (bytes: Buffer, at: number) =>
    Number(isLittle ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at));
  // Beyond what a file can have it means nothing, and nothing is read there.
  const offset = (bytes: Buffer, at: number) =>
    bits === 64 ? Math.min(wide(bytes, at), Number.MAX_SAFE_INTEGER) : word(bytes, at);
  return { half, word, offset };
}
