import { onTestFinished } from 'vitest';

import type { EvictdError } from '../../../src/base/errors.ts';
import type { StoredChunk } from '../../../src/checkpoint/format/chunk.ts';
import {
  type IndexPlace,
  type LocalIndex,
  openLocalIndex,
} from '../../../src/checkpoint/index/local-index.ts';
import type { FileRecord } from '../../../src/checkpoint/index/record.ts';

export const CUT = { chunkBytes: 2 ** 20, packBytes: 2 ** 23 };
export const ID = 'ab'.repeat(16);

export function placeOf(file: string | undefined, changes: Partial<IndexPlace> = {}): IndexPlace {
  return {
    file,
    store: 'a store p/k/sets/s/',
    root: '/set',
    bootId: 'boot',
    hash: 'gmac-128',
    cut: CUT,
    ...changes,
  };
}

export interface OpenedIndex {
  readonly index: LocalIndex;
  readonly problems: readonly string[];
}

/** Closed at the test's end, if it was not before. */
export async function openIndex(place: IndexPlace): Promise<OpenedIndex> {
  const problems: string[] = [];
  const index = await openLocalIndex(place, ({ code }: EvictdError) => void problems.push(code));
  onTestFinished(() => index.close());
  return { index, problems };
}

export function chunk(pack: string, plain: number, id = ID, offset = 0): StoredChunk {
  return { id, plain, pack, offset, stored: plain };
}

export function record(changes: Partial<FileRecord> = {}): FileRecord {
  return {
    stat: { size: 1000, mtimeNs: -5n, ctimeNs: 10n ** 18n, ino: 2n ** 63n, dev: 7n },
    seenAt: 1.5,
    readAt: 70_000.25,
    chunks: [chunk('p-1', 600), { plain: 400 }],
    isVersion: true,
    ...changes,
  };
}

/** All that an index knows, to be compared. */
export function contentOf(index: LocalIndex) {
  const { epoch, hash, cut, base, files, pieces, packs } = index;
  return {
    epoch,
    hash,
    cut,
    base,
    files: new Map(files),
    pieces: new Map(pieces),
    packs: new Map(packs),
    tries: new Map(['00000001', '00000002', '00000003'].map((id) => [id, new Set(index.tries(id))])),
  };
}
