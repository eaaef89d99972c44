import type { Entry } from '../format/entry.ts';
import type { Manifest, PackUse } from '../format/manifest.ts';
import { type SetPlace, setPrefix } from '../format/names.ts';
import { walkPackUses, walkTree } from '../format/tree/tree.ts';
import { findCheckpoint } from '../index/find-checkpoint.ts';
import { createPieceReader } from '../index/read-piece.ts';
import type { BlobStore } from '../store/store.ts';
import { type Hold, isHolding, listHolds } from './holds.ts';

export interface DescribedCheckpoint {
  readonly manifest: Manifest;
  /** Of the manifest's blob, in hex, and its bytes. */
  readonly sha256: string;
  readonly bytes: number;
  /** Packs with content of files. */
  readonly data: PackTotals;
  /** Packs with trees and tables. */
  readonly metadata: PackTotals;
  /** Why it isn't pruned, whatever is kept. */
  readonly holds: readonly Hold[];
  /** What it has, in the order of paths. Throws as `walkTree` and `readPiece` do. */
  readonly entries: () => AsyncIterable<Entry>;
  /** The rows of its table of packs with content of files, in the order of names. */
  readonly packs: () => AsyncIterable<PackUse>;
}

export interface PackTotals {
  readonly packs: number;
  readonly bytes: number;
  /** Of those, what this checkpoint needs. */
  readonly used: number;
}

/** A checkpoint, or the newest. Rejects as `findCheckpoint` and `readPiece` do. */
export async function describeCheckpoint(
  place: SetPlace,
  id: string | undefined,
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<DescribedCheckpoint> {
  const { manifest, sha256, bytes } = await findCheckpoint(place, id, store, signal);
  const { holds, serverMs } = await listHolds(place, { store }, signal);
  const readPiece = createPieceReader({ store, prefix: setPrefix(place) }, signal)(manifest);
  const packs = () => walkPackUses(manifest.packs, readPiece, signal);
  return {
    manifest,
    sha256,
    bytes,
    data: await totalsOf(packs()),
    metadata: await totalsOf(manifest.metadata),
    holds: holds.filter((hold) => hold.id === manifest.id && isHolding(hold, serverMs)),
    entries: () => walkTree(manifest.tree, readPiece, signal),
    packs,
  };
}

async function totalsOf(uses: AsyncIterable<PackUse> | Iterable<PackUse>): Promise<PackTotals> {
  const totals = { packs: 0, bytes: 0, used: 0 };
  for await (const { bytes, used } of uses) {
    totals.packs++;
    totals.bytes += bytes;
    totals.used += used;
  }
  return totals;
}
