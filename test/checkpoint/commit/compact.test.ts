import { rm } from 'node:fs/promises';

import fc from 'fast-check';
import { expect, test } from 'vitest';

import { type PackNeed, packsToGiveUp } from '../../../src/checkpoint/commit/compact.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import {
  PLACE,
  committed,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { countCalls, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, meddling, packBytes, packNames } from './rig.ts';

const PACK = 8 * MIB;
const PASS = 64 * MIB;

const need = fc
  .record({ bytes: fc.integer({ min: 1, max: PACK }), share: fc.double({ min: 0, max: 1, noNaN: true }) })
  .map(({ bytes, share }): PackNeed => ({ bytes, used: Math.floor(bytes * share) }));
const packs = fc
  .array(need, { maxLength: 80 })
  .map((all) => new Map(all.map((one, at): [string, PackNeed] => [`pack-${at}`, one])));
const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);

test('packs are given up only where more than half is of no use, or many are short, and no more than a pass can move', () => {
  fc.assert(
    fc.property(packs, (all) => {
      const given = packsToGiveUp(all, PACK);
      const values = [...all.values()];
      const isWasteful = sum(values.map(({ bytes }) => bytes)) > 2 * sum(values.map(({ used }) => used));
      const short = values.filter(({ bytes }) => bytes < PACK / 2);
      if (!isWasteful && short.length <= 32) expect(given.size).toBe(0);
      const chosen = [...given].flatMap((name) => all.get(name) ?? []);
      expect(chosen).toHaveLength(given.size);
      for (const { bytes, used } of chosen) {
        expect((isWasteful && used < bytes / 2) || (short.length > 32 && bytes < PACK / 2)).toBe(true);
      }
      expect(sum(chosen.map(({ used }) => used))).toBeLessThanOrEqual(Math.max(PASS, chosen[0]?.used ?? 0));
      // The sparsest first.
      const ratio = ({ bytes, used }: PackNeed) => used / bytes;
      const sparse = new Set(values.filter(({ bytes, used }) => isWasteful && used < bytes / 2));
      const left = [...all]
        .filter(([name, one]) => sparse.has(one) && !given.has(name))
        .map(([, one]) => one);
      const worst = Math.max(0, ...chosen.filter((one) => sparse.has(one)).map(ratio));
      for (const one of left) expect(ratio(one)).toBeGreaterThanOrEqual(worst);
    }),
  );
});

test('giving packs up comes to an end: what is moved is packed well', () => {
  fc.assert(
    fc.property(packs, (first) => {
      let all = new Map(first);
      for (let pass = 0; ; pass++) {
        const given = packsToGiveUp(all, PACK);
        if (given.size === 0) return;
        expect(pass).toBeLessThan(100);
        const moved = sum([...given].map((name) => all.get(name)?.used ?? 0));
        const next = new Map([...all].filter(([name]) => !given.has(name)));
        for (let left = moved, at = 0; left > 0; left -= PACK, at++) {
          const bytes = Math.min(left, PACK);
          next.set(`moved-${pass}-${at}`, { bytes, used: bytes });
        }
        all = next;
      }
    }),
  );
});

const IDLE = { idleMs: 0, pace: { take: async () => undefined } };

function rig(from: string, options: Parameters<typeof testCheckpointer>[2] = {}) {
  let now = Date.now();
  const blobs = createMemoryBlobs({ wallMs: () => now });
  const clock = shiftedClock();
  const store = blobs.connect();
  const checkpointer = testCheckpointer(store, from, { clock, ...options });
  return {
    blobs,
    store,
    checkpointer,
    pass: () => checkpointer.stageIdle('job', IDLE, never()),
    /** A minute, after which times are beyond doubt, and two hours for the server. */
    later() {
      clock.advance(120_000);
      now += 2 * 3_600_000;
    },
    prune: () => pruneSet({ place: PLACE, keep: 1, dryRun: false }, { store: blobs.connect() }, never()),
    stored: () => sum(packNames(blobs).map((name) => blobs.content(name)?.length ?? 0)),
  };
}

test('a set of which most was replaced takes little more than twice its room after a pass, a checkpoint and a pruning', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const files = Array.from({ length: 64 }, (_, at) => `f${at}`);
  await writeTree(
    from.path,
    Object.fromEntries(
      files.map((name, at) => [name, { kind: 'file', content: pattern(MIB, at + 1) } as const]),
    ),
  );
  await using work = Object.assign(rig(from.path), {
    [Symbol.asyncDispose]: () => work.checkpointer.close(),
  });
  const { blobs, store, checkpointer } = work;
  await committed(checkpointer);
  // What is left is spread over all packs: a quarter of each.
  for (const [at, name] of files.entries()) if (at % 4 !== 0) await rm(`${from.path}/${name}`);
  await committed(checkpointer);
  work.later();
  await committed(checkpointer);
  await work.prune();
  const before = work.stored();
  expect(before).toBeGreaterThan(60 * MIB);
  const reads = countCalls(store, 'read', '/packs/');
  const sent = packBytes(store);
  expect(await work.pass()).toBeUndefined();
  expect(packBytes(store) - sent).toBeLessThan(17 * MIB);
  // What it had may be all that there is as long as no checkpoint says otherwise.
  await work.prune();
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  await committed(checkpointer);
  work.later();
  await work.prune();
  expect(work.stored()).toBeLessThan(33 * MIB);
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  // Nothing is fetched for it, and a pass that has nothing to do does nothing.
  expect(countCalls(store, 'read', '/packs/')).toBe(reads);
  const writes = countCalls(store, 'create');
  for (let again = 0; again < 3; again++) await work.pass();
  expect(countCalls(store, 'create')).toBe(writes);
});

test('many short packs are merged into few', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await using work = Object.assign(rig(from.path), {
    [Symbol.asyncDispose]: () => work.checkpointer.close(),
  });
  const { blobs, store, checkpointer } = work;
  for (let round = 0; round < 36; round++) {
    await writeTree(from.path, { [`f${round}`]: { kind: 'file', content: pattern(20_000, round + 1) } });
    await committed(checkpointer);
  }
  work.later();
  await committed(checkpointer);
  const sent = countCalls(store, 'create', '/packs/');
  await work.pass();
  expect(countCalls(store, 'create', '/packs/') - sent).toBeLessThanOrEqual(2);
  await committed(checkpointer);
  work.later();
  await work.prune();
  expect(packNames(blobs).length).toBeLessThan(10);
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  const before = blobs.names();
  await work.pass();
  expect(blobs.names()).toEqual(before);
});

test('a set of the tiniest files is packed well as it is, though most of it is the tables of its packs', async () => {
  await using from = await testFolder();
  await writeTree(
    from.path,
    Object.fromEntries(
      Array.from({ length: 300 }, (_, at) => [`f${at}`, { kind: 'file', content: `${at}` } as const]),
    ),
  );
  await using work = Object.assign(rig(from.path), {
    [Symbol.asyncDispose]: () => work.checkpointer.close(),
  });
  await committed(work.checkpointer);
  work.later();
  await committed(work.checkpointer);
  const before = work.blobs.names();
  await work.pass();
  expect(work.blobs.names()).toEqual(before);
});

test('a file that changes while it is moved keeps what is known of it, and the next checkpoint has what it holds then', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const files = Array.from({ length: 16 }, (_, at) => `f${at}`);
  await writeTree(
    from.path,
    Object.fromEntries(
      files.map((name, at) => [name, { kind: 'file', content: pattern(MIB, at + 1) } as const]),
    ),
  );
  let isMoving = false;
  const workers = meddling({
    async before(paths) {
      if (isMoving && paths.includes('f0')) await changeFile(`${from.path}/f0`, pattern(MIB, 99));
    },
  });
  await using work = Object.assign(rig(from.path, { workers }), {
    [Symbol.asyncDispose]: () => work.checkpointer.close(),
  });
  await committed(work.checkpointer);
  for (const [at, name] of files.entries()) if (at % 4 !== 0) await rm(`${from.path}/${name}`);
  await committed(work.checkpointer);
  work.later();
  await committed(work.checkpointer);
  isMoving = true;
  await work.pass();
  isMoving = false;
  await committed(work.checkpointer);
  work.later();
  await work.prune();
  await restoreJob(work.blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('where deleted blobs stay, nothing is moved', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: pattern(2 * MIB) },
    b: { kind: 'file', content: pattern(MIB / 2, 2) },
  });
  const clock = shiftedClock();
  const blobs = createMemoryBlobs({ isVersioned: true });
  const checkpointer = testCheckpointer(blobs.connect(), from.path, { clock });
  await committed(checkpointer);
  await rm(`${from.path}/a`);
  await committed(checkpointer);
  clock.advance(120_000);
  await committed(checkpointer);
  const before = blobs.names();
  await checkpointer.stageIdle('job', IDLE, never());
  expect(blobs.names()).toEqual(before);
});
