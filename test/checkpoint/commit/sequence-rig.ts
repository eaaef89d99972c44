import { cp, readFile, writeFile } from 'node:fs/promises';

import { expect } from 'vitest';

import type { Checkpointer } from '../../../src/checkpoint/commit/checkpointer.ts';
import { createPace } from '../../../src/checkpoint/commit/pace.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import {
  PLACE,
  SET_PREFIX,
  type TestCheckpointerOptions,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { type TestFolder, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { expectWhole } from '../../support/made-whole.ts';
import { type BlobHooks, createMemoryBlobs } from '../../support/memory-blobs.ts';

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
export const MIB = 1024 ** 2;

export const checkpointName = (id: number) => `${SET_PREFIX}checkpoints/${String(id).padStart(8, '0')}.json`;

interface Machine extends TestFolder {
  /** A process that works on the folder; its index is kept for the next one. */
  start(hooks?: BlobHooks, options?: TestCheckpointerOptions): Checkpointer;
  write(files: Readonly<Record<string, Buffer>>): Promise<void>;
  /** With all that its processes have kept. */
  copy(): Promise<Machine>;
}

/** A container whose clock, and that of all machines, moves as a test says. */
export function createRig() {
  const clock = shiftedClock();
  const blobs = createMemoryBlobs({ wallMs: () => clock.wallMs() });
  const started: Checkpointer[] = [];
  const rig = {
    async [Symbol.asyncDispose]() {
      for (const checkpointer of started) await checkpointer.close();
    },
    blobs,
    clock,
    later: (ms: number) => clock.advance(ms),
    async machine(vmName = 'vm-1'): Promise<Machine> {
      const folder = await testFolder();
      await writeTree(folder.path, { data: { kind: 'folder' } });
      return machineIn(folder, vmName);
    },
    ids: () =>
      blobs
        .names()
        .flatMap((name) =>
          name.startsWith(`${SET_PREFIX}checkpoints/`) ? [Number(name.slice(-13, -5))] : [],
        ),
    packs: () => blobs.names().filter((name) => name.startsWith(`${SET_PREFIX}packs/`)),
    prune: (keep: number, hooks: BlobHooks = {}) =>
      pruneSet({ place: PLACE, keep, dryRun: false }, { store: blobs.connect(hooks) }, never()),
    /** Every checkpoint can be read, and another machine gets just what the folder has. */
    async expectRestored(machine: Pick<Machine, 'path'>, at?: string): Promise<void> {
      await expectWhole(blobs.connect(), PLACE);
      await rig.expectNewest(machine, at);
    },
    async expectNewest({ path }: Pick<Machine, 'path'>, at?: string): Promise<void> {
      await using to = await testFolder();
      const newest = String(rig.ids().at(-1)).padStart(8, '0');
      await restoreJob(blobs.connect(), to.path, at ?? newest);
      expect(await readTree(to.path)).toEqual(await readTree(`${path}/data`));
    },
  };
  const machineIn = (folder: TestFolder, vmName: string): Machine => ({
    ...folder,
    start(hooks = {}, options = {}) {
      const checkpointer = testCheckpointer(blobs.connect(hooks), `${folder.path}/data`, {
        vmName,
        bootId: `boot of ${vmName}`,
        clock,
        indexDirectory: `${folder.path}/state`,
        ...options,
      });
      started.push(checkpointer);
      return checkpointer;
    },
    async write(files) {
      const entries = Object.entries(files).map(
        ([name, content]) => [`data/${name}`, { kind: 'file', content }] as const,
      );
      await writeTree(folder.path, Object.fromEntries(entries));
    },
    async copy() {
      const other = await testFolder();
      await cp(folder.path, other.path, { recursive: true, preserveTimestamps: true });
      // There it has the same path.
      const index = `${other.path}/state/job.index.jsonl`;
      await writeFile(index, (await readFile(index, 'utf8')).replace(folder.path, other.path));
      return machineIn(other, vmName);
    },
  });
  return rig;
}

export type Rig = ReturnType<typeof createRig>;

/** What it would send at a notice is in the store before. */
export async function stageIdle(checkpointer: Checkpointer, { clock }: Rig): Promise<void> {
  const pace = createPace({ bytesPerSecond: Infinity }, { clock });
  expect(await checkpointer.stageIdle(PLACE.set, { idleMs: 0, pace }, never())).toBe(undefined);
}

/** Holds calls at which `isHeld` says so, until they are released; whoever waits for them may be dead by then. */
export function createBarrier(isHeld: (operation: string, name: string) => boolean) {
  const released = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  let count = 0;
  return {
    reached: reached.promise,
    release: () => released.resolve(),
    hooks: {
      async before({ operation, name }) {
        if (!isHeld(operation, name) || count++ > 0) return;
        reached.resolve();
        await released.promise;
      },
    } satisfies BlobHooks,
  };
}
