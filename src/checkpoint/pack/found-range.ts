import { isZero } from '../format/chunk-id.ts';
import { isStored } from '../format/chunk.ts';
import type { ChunkId, FileChunk, PackName } from '../format/chunk.ts';
import type { OpenPack } from './open-pack.ts';
import type { SendItem } from './sender.ts';

/** What a range of a file turns out to hold, from its beginning on. No closures: there are thousands a second. */
export interface FoundRange {
  readonly known: SendItem['known'];
  readonly chunks: FileChunk[];
  readonly packs: PackName[];
  bytesNew: number;
  length: number;
  /** The known chunk with this index begins at byte `knownAt` of the range. */
  index: number;
  knownAt: number;
}

export function createFoundRange({ known }: Pick<SendItem, 'known'>): FoundRange {
  return { known, chunks: [], packs: [], bytesNew: 0, length: 0, index: 0, knownAt: 0 };
}

export function addHole(found: FoundRange, bytes: number): void {
  if (bytes === 0) return;
  const { chunks } = found;
  const last = chunks.at(-1);
  if (last === undefined || isStored(last)) chunks.push({ plain: bytes });
  else chunks[chunks.length - 1] = { plain: last.plain + bytes };
  found.length += bytes;
}

/** `bytes` are in the pack's next space. They are kept there only if they are new and not all zeros. */
export function addChunk(
  found: FoundRange,
  id: ChunkId,
  bytes: Buffer,
  pack: OpenPack,
  compress: boolean,
): void {
  const plain = bytes.length;
  const before = knownHere(found);
  if (before !== undefined && isStored(before) && before.id === id && before.plain === plain) {
    found.chunks.push(before);
  } else if (isZero(bytes)) {
    addHole(found, plain);
    return;
  } else {
    const chunk = pack.keep(id, plain, { compress });
    found.chunks.push(chunk);
    if (found.packs.at(-1) !== chunk.pack) found.packs.push(chunk.pack);
    found.bytesNew += plain;
  }
  found.length += plain;
}

function knownHere(found: FoundRange): FileChunk | undefined {
  const { known, length } = found;
  let chunk = known[found.index];
  for (; chunk !== undefined && found.knownAt < length; chunk = known[++found.index])
    found.knownAt += chunk.plain;
  return found.knownAt === length ? chunk : undefined;
}
