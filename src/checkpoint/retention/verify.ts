import type { FileChunk, PackName, StoredChunk } from '../format/chunk.ts';
import { isStored } from '../format/chunk.ts';
import type { PackUse } from '../format/manifest.ts';
import { PACKS, type SetPlace, setPrefix } from '../format/names.ts';
import { createTreeCheck } from '../format/tree/check.ts';
import type { ReadPiece, TreeEntry } from '../format/tree/tree.ts';
import { walkPackUses } from '../format/tree/tree.ts';
import { isUnusable } from '../index/entries.ts';
import { findCheckpoint } from '../index/find-checkpoint.ts';
import { type ListedPack, listPacks } from '../index/list-packs.ts';
import { readPiece } from '../index/read-piece.ts';
import type { BlobStore } from '../store/store.ts';
import { chunksOf, createTreeCursor } from '../format/tree/cursor.ts';
import {
  type CheckOptions,
  type CheckOutcome,
  type CheckStretch,
  checkChunks,
  createStretchCheck,
} from './verify-content.ts';

export interface VerifyOptions {
  readonly place: SetPlace;
  /** Of a checkpoint; the newest without. */
  readonly id?: string;
  /** How many of the chunks of files are read back and checked, from 0 to 1, chosen by chance; default: all. */
  readonly sample?: number;
}

export interface VerifyDependencies {
  readonly store: BlobStore;
  /** Reads and checks content elsewhere: on other threads. */
  readonly check?: CheckStretch;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

export interface VerifyResult {
  readonly set: string;
  readonly id: string;
  readonly files: number;
  /** Of files, that are stored. */
  readonly chunks: number;
  readonly chunksRead: number;
  readonly bytesRead: number;
  /** Packs that aren't as they should be, of which paths may be told in `damaged`. The first of them. */
  readonly packs: { readonly count: number; readonly first: readonly BadPack[] };
  /** Parts of its tree or tables that can't be read: nothing is known of what is in there. The first of them. */
  readonly pieces: { readonly count: number; readonly first: readonly BadPiece[] };
  /** Files with content that isn't there or isn't what it should be. The first of them. */
  readonly damaged: { readonly count: number; readonly first: readonly DamagedFile[] };
  /** Nothing bad was found. */
  readonly isWhole: boolean;
}

export interface BadPack {
  readonly name: PackName;
  readonly problem: 'gone' | 'archived' | 'wrong-length';
}

export interface BadPiece {
  /** `tree`: from that path on. */
  readonly what: 'tree' | 'chunk-list' | 'table-of-packs';
  readonly path: string;
  readonly detail: string;
}

export interface DamagedFile {
  readonly path: string;
  /** Chunks whose pack isn't there, or is in the archive tier, or too short. */
  readonly missing: number;
  /** Chunks that are not what their ids say. */
  readonly wrong: number;
}

const NAMED_MAX = 1000;
const PIECES_AHEAD = 16;
/** Chunks that are collected, to be read in few requests. */
const WAITING_MAX = 4096;

/**
 * Reads a checkpoint back and checks it: its manifest, all of its tree, that all its packs are there with the length that
 * they should have, and the content of a sample of its chunks. Damage is answered; rejects as `findCheckpoint` does, and
 * with what the store rejects with otherwise.
 */
export async function verifySet(
  { place, id, sample = 1 }: VerifyOptions,
  { store, check = createStretchCheck(store), random = Math.random }: VerifyDependencies,
  signal: AbortSignal,
): Promise<VerifyResult> {
  const { manifest } = await findCheckpoint(place, id, store, signal);
  const prefix = setPrefix(place);
  const packPrefix = prefix + PACKS;
  const { hash } = manifest;
  const read: ReadPiece = (ref) => readPiece({ store, prefix, hash }, ref, signal);
  const found = createFindings(manifest);
  const packs = createPackCheck(await listPacks(store, packPrefix, signal), found);
  for (const use of manifest.metadata) packs.look(use);
  await found.pieceFaults('table-of-packs', '', async () => {
    for await (const use of walkPackUses(manifest.packs, read, signal)) packs.look(use);
  });

  const checkContent = createContentCheck({ packPrefix, hash, check }, found, signal);
  const checkEntry = async (entry: TreeEntry) => {
    if (entry.type !== 'file') return;
    found.counts.files++;
    for await (const chunk of chunksOf(entry, read, signal)) {
      if (!isStored(chunk)) continue;
      found.counts.chunks++;
      if (!packs.has(chunk)) found.damage(entry.path, 'missing');
      else if (random() < sample) await checkContent.add(entry.path, chunk);
    }
  };
  const cursor = createTreeCursor(manifest.tree, read, PIECES_AHEAD);
  const checkTree = createTreeCheck(false);
  for (let next = cursor.next(); next !== undefined; next = cursor.next()) {
    signal.throwIfAborted();
    const { path } = next;
    if (next.kind === 'piece') {
      await found.pieceFaults('tree', path, () => cursor.open());
      continue;
    }
    cursor.drop();
    const { entry } = next;
    await found.pieceFaults('chunk-list', path, () => checkEntry(entry));
    const problem = checkTree('lists' in entry ? { ...entry, chunks: holeOf(entry.size) } : entry);
    if (problem !== undefined) found.badPiece('tree', path, problem);
  }
  await checkContent.flush();
  return found.result();
}

/** Stands for chunks whose list is looked at by itself. */
function holeOf(size: number): readonly FileChunk[] {
  return size === 0 ? [] : [{ plain: size }];
}

type Findings = ReturnType<typeof createFindings>;

function createFindings({ set, id }: { readonly set: string; readonly id: string }) {
  const packs = createFirst<BadPack>();
  const pieces = createFirst<BadPiece>();
  const damaged = new Map<string, { missing: number; wrong: number }>();
  const badPiece = (what: BadPiece['what'], path: string, detail: string) =>
    pieces.add({ what, path, detail });
  const counts = { files: 0, chunks: 0, chunksRead: 0, bytesRead: 0 };
  return {
    counts,
    badPack: (pack: BadPack) => packs.add(pack),
    badPiece,
    damage(path: string, how: 'missing' | 'wrong') {
      const known = damaged.get(path) ?? { missing: 0, wrong: 0 };
      known[how]++;
      damaged.set(path, known);
    },
    /** What `work` says of a piece is a finding. */
    async pieceFaults(what: BadPiece['what'], path: string, work: () => Promise<void>): Promise<void> {
      try {
        await work();
      } catch (error) {
        if (!isUnusable(error)) throw error;
        badPiece(what, path, error.message);
      }
    },
    result(): VerifyResult {
      const first = [...damaged].slice(0, NAMED_MAX).map(([path, how]) => ({ path, ...how }));
      return {
        set,
        id,
        ...counts,
        packs: packs.named(),
        pieces: pieces.named(),
        damaged: { count: damaged.size, first },
        isWhole: packs.named().count + pieces.named().count + damaged.size === 0,
      };
    },
  };
}

function createFirst<T>() {
  const first: T[] = [];
  let count = 0;
  return {
    add(item: T) {
      if (count++ < NAMED_MAX) first.push(item);
    },
    named: () => ({ count, first }),
  };
}

function createPackCheck(listed: ReadonlyMap<PackName, ListedPack>, found: Findings) {
  return {
    look({ name, bytes }: PackUse): void {
      const pack = listed.get(name);
      if (pack === undefined) found.badPack({ name, problem: 'gone' });
      else if (pack.isArchived) found.badPack({ name, problem: 'archived' });
      else if (pack.bytes !== bytes) found.badPack({ name, problem: 'wrong-length' });
    },
    has({ pack, offset, stored }: StoredChunk): boolean {
      const there = listed.get(pack);
      return there !== undefined && !there.isArchived && offset + stored <= there.bytes;
    },
  };
}

function createContentCheck(options: CheckOptions, found: Findings, signal: AbortSignal) {
  let waiting: { readonly path: string; readonly chunk: StoredChunk }[] = [];
  const flush = async () => {
    const batch = waiting;
    waiting = [];
    const note = ({ path, chunk }: (typeof batch)[number], outcome: CheckOutcome) => {
      if (outcome !== 'good') found.damage(path, outcome);
      if (outcome === 'missing') return;
      found.counts.chunksRead++;
      found.counts.bytesRead += chunk.stored;
    };
    await checkChunks(batch, options, note, signal);
  };
  return {
    async add(path: string, chunk: StoredChunk): Promise<void> {
      waiting.push({ path, chunk });
      if (waiting.length >= WAITING_MAX) await flush();
    },
    flush,
  };
}
