import { isZero } from '../format/chunk-id.ts';
import { isStored } from '../format/chunk.ts';
import type { ChunkId, FileChunk, PackName } from '../format/chunk.ts';
import type { OpenPack } from './open-pack.ts';
import type { SendItem } from './sender.ts';

/** What a range of a file turns out to hold, from its beginning on. */
export interface FoundRange {
  readonly chunks: readonly FileChunk[];
  readonly packs: readonly PackName[];
  readonly bytesNew: number;
  addHole(bytes: number): void;
  /** `bytes` are in the pack's next space. They are kept there only if they are new and not all zeros. */
  add(id: ChunkId, bytes: Buffer, pack: OpenPack, compress: boolean): void;
}

export function createFoundRange({ known }: Pick<SendItem, 'known'>): FoundRange {
  const chunks: FileChunk[] = [];
  const packs: PackName[] = [];
  let bytesNew = 0;
  let length = 0;
  // The known chunk with this index begins at byte `knownAt` of the range.
  let index = 0;
  let knownAt = 0;

  const knownHere = (): FileChunk | undefined => {
    let chunk = known[index];
    for (; chunk !== undefined && knownAt < length; chunk = known[++index]) knownAt += chunk.plain;
    return knownAt === length ? chunk : undefined;
  };
  const addHole = (bytes: number) => {
    if (bytes === 0) return;
    const last = chunks.at(-1);
    if (last === undefined || isStored(last)) chunks.push({ plain: bytes });
    else chunks[chunks.length - 1] = { plain: last.plain + bytes };
    length += bytes;
  };

  return {
    chunks,
    packs,
    get bytesNew() {
      return bytesNew;
    },
    addHole,
    add(id, bytes, pack, compress) {
      const plain = bytes.length;
      const before = knownHere();
      if (before !== undefined && isStored(before) && before.id === id && before.plain === plain) {
        chunks.push(before);
      } else if (isZero(bytes)) {
        return addHole(plain);
      } else {
        const chunk = pack.keep(id, plain, { compress });
        chunks.push(chunk);
        if (packs.at(-1) !== chunk.pack) packs.push(chunk.pack);
        bytesNew += plain;
      }
      length += plain;
      return undefined;
    },
  };
}
