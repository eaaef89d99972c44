import type { BlobStore } from '../../../src/checkpoint/store/store.ts';
import { PACKS, parsePackName, setPrefix } from '../../../src/checkpoint/format/names.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import type { PruneOptions } from '../../../src/checkpoint/retention/prune.ts';
import { MADE_PLACE, createMadeWriter } from '../../support/made-store.ts';
import type { MadeLine, MadeWriter } from '../../support/made-store.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import type { BlobHooks, MemoryBlobs, MemoryBlobsOptions } from '../../support/memory-blobs.ts';

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
export const PREFIX = setPrefix(MADE_PLACE);

/** A container whose clock moves as a test says. */
export interface Rig {
  readonly blobs: MemoryBlobs;
  readonly line: MadeLine;
  readonly store: BlobStore;
  later(ms: number): void;
  writer(options?: { readonly epoch?: string; readonly hooks?: BlobHooks }): MadeWriter;
  prune(
    keep: PruneOptions['keep'],
    more?: Partial<PruneOptions> & { readonly hooks?: BlobHooks },
  ): ReturnType<typeof pruneSet>;
  ids(): string[];
  /** Of data and metadata, without the process: `<epoch>-<seq>`. */
  packs(): string[];
}

export function createRig(options: MemoryBlobsOptions = {}): Rig {
  let now = Date.UTC(2026, 0, 1);
  const blobs = createMemoryBlobs({ wallMs: () => now, ...options });
  const line: MadeLine = { point: null };
  const below = (folder: string) =>
    blobs
      .names()
      .flatMap((name) => (name.startsWith(PREFIX + folder) ? [name.slice((PREFIX + folder).length)] : []));
  return {
    blobs,
    line,
    store: blobs.connect(),
    later: (ms) => void (now += ms),
    writer: ({ hooks = {}, ...more } = {}) => createMadeWriter(blobs.connect(hooks), { line, ...more }),
    prune: (keep, { hooks = {}, ...more } = {}) =>
      pruneSet(
        { place: MADE_PLACE, keep, dryRun: false, ...more },
        { store: blobs.connect(hooks) },
        new AbortController().signal,
      ),
    ids: () => below('checkpoints/').map((name) => name.slice(0, -5)),
    packs: () =>
      below(PACKS).map((name) => {
        const pack = parsePackName(name);
        return `${pack?.epoch}-${pack?.seq}`;
      }),
  };
}

/**
 * A takeover and five checkpoints (2 to 6), two hours apart: a file that stays, one that changes, and one that goes
 * after checkpoint 3.
 */
export async function fiveCheckpoints(options: MemoryBlobsOptions & { readonly hooks?: BlobHooks } = {}) {
  const { hooks = {}, ...more } = options;
  const rig = createRig(more);
  const writer = rig.writer({ hooks });
  await writer.takeOver();
  for (let round = 2; round <= 6; round++) {
    await writer.commit({
      stays: 'this one stays',
      'd/changes': `this is version ${round}`,
      ...(round <= 3 && { goes: 'this one goes' }),
    });
    rig.later(2 * HOUR);
  }
  return { rig, writer };
}
