/**
 * Memory that malloc gets from the system for itself begins 16 bytes into a page, and the page cache copies whole pages.
 * Some processors of AMD take three times as long for a copy that goes 1 to 31 bytes further into a page than it comes
 * from. With this much before it, content begins where a page does.
 */
const CONTENT_AT = 4096 - 16;

/** With anything in it. Pages that nothing is written to take no memory. */
export function packMemory(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(CONTENT_AT + bytes).subarray(CONTENT_AT);
}

/** Frees it at once. It is empty then. */
export function giveBack({ buffer }: Buffer): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
