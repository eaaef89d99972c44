import { messageOf } from '../../src/base/errors.ts';
import { isStored } from '../../src/checkpoint/format/chunk.ts';
import type { Manifest, SetEntry } from '../../src/checkpoint/format/manifest.ts';
import { parseSetEntry } from '../../src/checkpoint/format/manifest-json.ts';
import { PACKS, setPrefix } from '../../src/checkpoint/format/names.ts';
import { walkPackUses, walkTree } from '../../src/checkpoint/format/tree/tree.ts';
import { readPiece } from '../../src/checkpoint/index/read-piece.ts';
import type { BlobStore } from '../../src/checkpoint/store/store.ts';
import { type MemoryBlobs, storeError } from '../support/memory-blobs.ts';
import type { GuestProcess } from './guest.ts';

/** What the store has of one set's line, as somebody who sees everything would write it down. Times in ms. */
export interface EntryFact {
  readonly set: string;
  readonly id: string;
  readonly kind: SetEntry['kind'];
  /** Name of the VM. */
  readonly writer: string;
  /** See `GuestProcess`. */
  readonly role: string;
  readonly epoch: string;
  readonly at: number;
  /** When it was written; one that comes late is below others. */
  readonly wasNewest: boolean;
  /** Nothing is lost in it, nor left out at a deadline. */
  readonly isWhole: boolean;
  readonly isPartial: boolean;
  removedAt: number;
  /** Blob names. */
  packs: ReadonlySet<string>;
}

export interface Ledger {
  readonly entries: readonly EntryFact[];
  /** Those that are in the store, the oldest first. */
  there(set: string): readonly EntryFact[];
  /** What has that id now, or had it last. */
  of(set: string, id: string): EntryFact | undefined;
  readonly onEffect: (process: GuestProcess, operation: string, name: string, answer: unknown) => void;
}

interface LedgerOptions {
  readonly prefix: string;
  readonly key: string;
  readonly service: MemoryBlobs;
  readonly now: () => number;
  readonly broken: (what: string) => void;
  readonly onEntry: (fact: EntryFact, entry: SetEntry) => void;
}

const never = new AbortController().signal;

/**
 * Looks at each blob that comes and goes: no manifest names a pack that isn't stored whole, and no pack goes that a
 * manifest in the store names.
 */
export function createLedger({ prefix, key, service, now, broken, onEntry }: LedgerOptions): Ledger {
  const entries: EntryFact[] = [];
  const below = `${prefix}/${key}/sets/`;
  const there = (set: string) =>
    entries
      .filter((one) => one.set === set && one.removedAt === Infinity)
      .sort((one, other) => (one.id < other.id ? -1 : 1));

  function created(process: GuestProcess, set: string, id: string, name: string): void {
    const body = service.content(name);
    if (body === undefined) return;
    const entry = parseSetEntry(body, name, { set, id });
    const { kind, epoch } = entry;
    const { guest, role } = process;
    const isPartial = entry.kind === 'checkpoint' && entry.partial !== undefined;
    const isWhole = entry.kind === 'takeover' || (entry.lost.count === 0 && !isPartial);
    const wasNewest = there(set).every((one) => one.id < id);
    const of = { set, id, kind, epoch, isWhole, isPartial, wasNewest, writer: guest.name, role };
    const fact: EntryFact = { ...of, at: now(), removedAt: Infinity, packs: new Set() };
    entries.push(fact);
    onEntry(fact, entry);
    if (entry.kind === 'takeover') return;
    // No time goes by meanwhile.
    void packsOf(entry, setPrefix({ prefix, key, set }), service).then(
      (packs) => (fact.packs = packs),
      (error: unknown) => broken(`manifest ${set} ${id} of ${role}: ${messageOf(error)}`),
    );
  }

  return {
    entries,
    there,
    of: (set, id) => entries.findLast((one) => one.set === set && one.id === id),
    onEffect(process, _operation, name, answer) {
      if (!name.startsWith(below)) return;
      const [, set = '', folder, file = ''] = /^([^/]+)\/([^/]+)\/(.*)$/.exec(name.slice(below.length)) ?? [];
      const id = file.replace(/\.json$/, '');
      // As memory-blobs answers.
      const { outcome } = (answer ?? {}) as { outcome?: string };
      if (folder === 'checkpoints' && outcome === 'created') created(process, set, id, name);
      if (outcome !== 'removed') return;
      for (const one of there(set)) {
        if (folder === 'checkpoints' && one.id === id) one.removedAt = now();
        if (one.packs.has(name)) broken(`${name} was deleted, though ${set} ${one.id} needs it`);
      }
    },
  };
}

/** Names of all packs of a checkpoint. Rejects when one of them isn't there whole, or lacks a chunk. */
async function packsOf(
  manifest: Manifest,
  prefix: string,
  service: MemoryBlobs,
): Promise<ReadonlySet<string>> {
  const store = { ...service.connect(), ...readerOf(service) };
  const uses = [...manifest.metadata];
  const read = (ref: Parameters<typeof readPiece>[1]) => {
    if (!uses.some(({ name }) => name === ref.pack))
      throw new Error(`the pack ${ref.pack} is not in its list`);
    return readPiece({ store, prefix, hash: manifest.hash }, ref, never);
  };
  for await (const use of walkPackUses(manifest.packs, read, never)) uses.push(use);
  const bytes = new Map(uses.map((use) => [use.name, use.bytes]));
  for (const [name, length] of bytes) {
    const there = service.content(`${prefix}${PACKS}${name}`)?.length;
    if (there !== length)
      throw new Error(`names the pack ${name} of ${length} bytes, of which ${there ?? 'none'} are there`);
  }
  for await (const entry of walkTree(manifest.tree, read, never)) {
    for (const chunk of entry.type === 'file' ? entry.chunks.filter(isStored) : []) {
      if (chunk.offset + chunk.stored > (bytes.get(chunk.pack) ?? 0))
        throw new Error(`has a chunk of ${entry.path} in ${chunk.pack}, which its table lacks`);
    }
  }
  return new Set([...bytes.keys()].map((name) => `${prefix}${PACKS}${name}`));
}

/** What is there at this very instant. */
function readerOf(service: MemoryBlobs): Pick<BlobStore, 'read'> {
  return {
    async read(name, { range }) {
      const content = service.content(name);
      if (content === undefined) throw storeError('not-found', name);
      const { offset, count } = range ?? { offset: 0, count: content.length };
      if (offset + count > content.length) throw storeError('bad-answer', name);
      return new Uint8Array(content.subarray(offset, offset + count));
    },
  };
}
