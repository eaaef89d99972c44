import type { HashSpec, StoredChunk } from '../format/chunk.ts';
import { readPiece } from '../index/read-piece.ts';
import type { BlobStore } from '../store/store.ts';

const BYTES_MAX = 16 * 1024 ** 2;

/**
 * Reads pieces of several checkpoints of a set, which have most of them in common: what was read last is remembered.
 * `prefix`: `PREFIX/KEY/sets/SET/`. The answered functions reject as `readPiece` does.
 */
export function createPieceReader(
  source: { readonly store: BlobStore; readonly prefix: string },
  signal: AbortSignal,
): (hash: HashSpec) => (ref: StoredChunk) => Promise<Uint8Array> {
  const known = new Map<string, { readonly bytes: number; readonly content: Promise<Uint8Array> }>();
  let bytes = 0;
  const forget = (name: string) => {
    bytes -= known.get(name)?.bytes ?? 0;
    known.delete(name);
  };
  return (hash) => (ref) => {
    const name = `${hash.key} ${ref.id} ${ref.pack} ${ref.offset}`;
    const found = known.get(name);
    if (found !== undefined) return found.content;
    const content = readPiece({ ...source, hash }, ref, signal);
    // It is asked for anew then. Whoever waits for it is told; nobody else is to be.
    content.catch(() => forget(name));
    known.set(name, { bytes: ref.plain, content });
    bytes += ref.plain;
    for (const oldest of known.keys()) if (bytes > BYTES_MAX) forget(oldest);
    return content;
  };
}
