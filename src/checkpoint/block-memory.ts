/** Shared between threads, or moving from one to the other. What is in it begins at CONTENT_AT. */
export type BlockMemory = ArrayBuffer | SharedArrayBuffer;

/**
 * Memory that malloc gets from the system for itself begins 16 bytes into a page, and the page cache copies whole pages.
 * Some processors of AMD take three times as long for a copy that goes 1 to 31 bytes further into a page than it comes
 * from: 490 ms for each GiB that is read instead of 165. With this much before it, content begins where a page does.
 */
const CONTENT_AT = 4096 - 16;

export function blockMemory(bytes: number): ArrayBuffer {
  return new ArrayBuffer(CONTENT_AT + bytes);
}

export function sharedMemory(bytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(CONTENT_AT + bytes);
}

/** As many bytes as it was made for. */
export function capacityOf(memory: BlockMemory): number {
  return memory.byteLength - CONTENT_AT;
}

/** A part of what is in it. */
export function contentIn(memory: BlockMemory, start: number, bytes: number): Buffer {
  return Buffer.from(memory, CONTENT_AT + start, bytes);
}

/** For pieces of files that no other thread sees; with anything in it. */
export function pieceMemory(bytes: number): Buffer {
  return contentIn(Buffer.allocUnsafeSlow(CONTENT_AT + bytes).buffer, 0, bytes);
}
