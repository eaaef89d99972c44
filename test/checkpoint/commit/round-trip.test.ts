import {
  appendFile,
  chmod,
  link,
  mkdir,
  open,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';

import fc from 'fast-check';
import { expect, test } from 'vitest';

import { createPace } from '../../../src/checkpoint/commit/pace.ts';
import { listEntries } from '../../../src/checkpoint/index/entries.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import {
  PLACE,
  committed,
  laterClock,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB } from './rig.ts';

const name = fc.constantFrom('a', 'b', 'c', '\xff', 'd\n', 'e.');
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
const text = fc.string({ maxLength: 20 });
const place = fc.nat({ max: 9 * MIB });

type Edit = (root: string) => Promise<unknown>;

const at = (root: string, where: string) => Buffer.from(`${root}/${where}`, 'latin1');

function edits(): fc.Arbitrary<Edit> {
  const writeAt = (where: string, position: number, what: string): Edit => {
    return async (root) => {
      await using file = await open(at(root, where), 'r+');
      await file.write(what, position);
    };
  };
  const one = (make: (where: string) => Edit) => path.map(make);
  return fc.oneof(
    {
      weight: 6,
      arbitrary: fc.tuple(path, text).map(
        ([where, what]): Edit =>
          (root) =>
            writeFile(at(root, where), what),
      ),
    },
    {
      weight: 2,
      arbitrary: fc.tuple(path, place, text).map(([where, position, what]) => writeAt(where, position, what)),
    },
    {
      weight: 2,
      arbitrary: fc.tuple(path, text).map(
        ([where, what]): Edit =>
          (root) =>
            appendFile(at(root, where), what),
      ),
    },
    {
      weight: 2,
      arbitrary: fc.tuple(path, place).map(
        ([where, size]): Edit =>
          (root) =>
            truncate(at(root, where), size),
      ),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(path, fc.nat({ max: 9 })).map(
        ([where, seed]): Edit =>
          (root) =>
            writeFile(at(root, where), pattern(2.5 * MIB, seed)),
      ),
    },
    {
      weight: 2,
      arbitrary: fc.tuple(path, path).map(
        ([from, to]): Edit =>
          (root) =>
            rename(at(root, from), at(root, to)),
      ),
    },
    {
      weight: 2,
      arbitrary: fc.tuple(path, path).map(
        ([from, to]): Edit =>
          (root) =>
            link(at(root, from), at(root, to)),
      ),
    },
    { weight: 1, arbitrary: one((where) => (root) => rm(at(root, where), { recursive: true })) },
    { weight: 1, arbitrary: one((where) => (root) => mkdir(at(root, where), { recursive: true })) },
    { weight: 1, arbitrary: one((where) => (root) => chmod(at(root, where), 0o711)) },
    {
      weight: 1,
      arbitrary: one((where) => (root) => utimes(at(root, where), 1_500_000_000, 1_500_000_000.5)),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(path, fc.constantFrom('a', '../b', '/nowhere')).map(
        ([where, target]): Edit =>
          (root) =>
            symlink(target, at(root, where)),
      ),
    },
  );
}

/** Does what can be done: an edit that doesn't fit the tree as it is changes nothing. */
async function apply(root: string, edit: Edit): Promise<void> {
  try {
    await edit(root);
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
  }
}

const folders: Edit = async (root) => {
  for (const one of ['a', 'b', '\xff']) await mkdir(at(root, `${one}/c`), { recursive: true });
};

const START = ['goes on', 'goes on', 'restarted', 'rebooted', 'succeeded', 'killed'] as const;

/** More of them look further: `ROUND_TRIPS=900`. */
const RUNS = Number(process.env['ROUND_TRIPS'] ?? 20);

const round = fc.record({
  before: fc.array(edits(), { maxLength: 4 }),
  sending: fc.constantFrom('nothing', 'stage', 'idle', 'idle'),
  edits: fc.array(edits(), { maxLength: 10 }),
  start: fc.constantFrom(...START),
  isLater: fc.boolean(),
  prunes: fc.boolean(),
});

test(
  'whatever happens to files and to whoever saves them, each checkpoint that is kept is what was on disk then',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 5 }), async (rounds) => {
        await using from = await testFolder();
        await using state = await testFolder();
        await using elsewhere = await testFolder();
        let now = Date.now();
        const clock = shiftedClock();
        const blobs = createMemoryBlobs({ wallMs: () => now });
        let life = 0;
        const start = () =>
          testCheckpointer(blobs.connect(), from.path, {
            clock,
            indexDirectory: state.path,
            bootId: `boot-${life}`,
            vmName: `vm-${life % 2}`,
          });
        let checkpointer = start();
        const started = [checkpointer];
        const trees = new Map<string, unknown>();
        await apply(from.path, folders);
        for (const one of rounds) {
          for (const edit of one.before) await apply(from.path, edit);
          if (one.sending === 'stage') await checkpointer.stage('job', never());
          if (one.sending === 'idle') {
            const idle = { idleMs: 0, pace: createPace({ bytesPerSecond: Infinity }, { clock: laterClock }) };
            await checkpointer.stageIdle('job', idle, never());
          }
          // The kernel's clock goes on, so that what follows has other times.
          await changeFile(`${elsewhere.path}/tick`, 'x').catch(() =>
            writeFile(`${elsewhere.path}/tick`, ''),
          );
          await changeFile(`${elsewhere.path}/tick`, 'x');
          for (const edit of one.edits) await apply(from.path, edit);
          if (one.start === 'rebooted' || one.start === 'succeeded') life += one.start === 'rebooted' ? 2 : 1;
          if (one.start !== 'goes on') {
            if (one.start !== 'killed') await checkpointer.close();
            checkpointer = start();
            started.push(checkpointer);
          }
          trees.set((await committed(checkpointer)).id, await readTree(from.path));
          await changeFile(`${elsewhere.path}/tick`, 'y');
          if (one.isLater) {
            clock.advance(120_000);
            now += 2 * 3_600_000;
          }
          if (one.prunes)
            await pruneSet({ place: PLACE, keep: 2, dryRun: false }, { store: blobs.connect() }, never());
        }
        const { entries } = await listEntries(blobs.connect(), PLACE, never());
        const kept = entries.filter(({ id }) => trees.has(id));
        expect(kept.length).toBeGreaterThan(0);
        for (const { id } of kept) {
          await using to = await testFolder();
          await restoreJob(blobs.connect(), to.path, id);
          expect(await readTree(to.path)).toEqual(trees.get(id));
        }
        for (const one of started) await one.close();
      }),
      { numRuns: RUNS },
    );
  },
  60_000 + 2000 * RUNS,
);
