import { expect } from 'vitest';

import { isStored } from '../../src/checkpoint/format/chunk.ts';
import { chunkIdOf } from '../../src/checkpoint/format/chunk-id.ts';
import type { Entry } from '../../src/checkpoint/format/entry.ts';
import type { SetPlace } from '../../src/checkpoint/format/names.ts';
import { PACKS, setPrefix } from '../../src/checkpoint/format/names.ts';
import { walkPackUses, walkTree } from '../../src/checkpoint/format/tree/tree.ts';
import { decompressFrame } from '../../src/checkpoint/format/zstd-frame.ts';
import { listEntries, readEntry } from '../../src/checkpoint/index/entries.ts';
import { readPiece } from '../../src/checkpoint/index/read-piece.ts';
import type { BlobStore } from '../../src/checkpoint/store/store.ts';
import { MADE_PLACE } from './made-store.ts';

/**
 * Every checkpoint of a set has all that it names: fails the test otherwise. Answers what each holds, by its id.
 * It reads as simply as can be, and shares no code with what removes.
 */
export async function expectWhole(
  store: BlobStore,
  place: SetPlace = MADE_PLACE,
): Promise<Record<string, Record<string, string>>> {
  const signal = new AbortController().signal;
  const prefix = setPrefix(place);
  const whole: Record<string, Record<string, string>> = {};
  for (const { id } of (await listEntries(store, place, signal)).entries) {
    const { entry: manifest } = await readEntry(store, place, id, signal);
    if (manifest.kind !== 'checkpoint') continue;
    const { hash } = manifest;
    const pieces = (ref: Parameters<typeof readPiece>[1]) => readPiece({ store, prefix, hash }, ref, signal);
    const named = new Set(manifest.metadata.map(({ name }) => name));
    for await (const { name, bytes } of walkPackUses(manifest.packs, pieces, signal)) {
      named.add(name);
      const blob = await store.read(`${prefix}${PACKS}${name}`, { bytesMax: bytes }, signal);
      expect(blob).toHaveLength(bytes);
    }
    const files: Record<string, string> = {};
    for await (const entry of walkTree(manifest.tree, pieces, signal)) {
      if (entry.type === 'file') files[entry.path] = await contentOf(entry);
    }
    whole[id] = files;

    async function contentOf({ chunks }: Extract<Entry, { type: 'file' }>): Promise<string> {
      let content = '';
      for (const chunk of chunks) {
        if (!isStored(chunk)) {
          content += '\0'.repeat(chunk.plain);
          continue;
        }
        expect(named).toContain(chunk.pack);
        const range = { offset: chunk.offset, count: chunk.stored };
        const stored = await store.read(
          `${prefix}${PACKS}${chunk.pack}`,
          { range, bytesMax: chunk.stored },
          signal,
        );
        const plain = chunk.stored < chunk.plain ? decompressFrame(stored, chunk.plain) : stored;
        expect(plain && chunkIdOf(plain, hash)).toBe(chunk.id);
        content += Buffer.from(plain ?? []).toString('latin1');
      }
      return content;
    }
  }
  return whole;
}
