import { expect, test } from 'vitest';

import { createCheckpointer } from '../../../src/checkpoint/commit/checkpointer.ts';
import { createLocalWorkers } from '../../support/local-workers.ts';
import { laterClock, never } from '../../support/checkpoints.ts';
import { pattern, testFolder, writeTree } from '../../support/file-tree.ts';
import { type MemoryClient, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, meddling } from './rig.ts';

/** Sets `first` (priority 1) and `later` (priority 90) below `path`. */
function twoSets(
  store: MemoryClient,
  path: string,
  onRead: (paths: readonly string[]) => void = () => undefined,
) {
  const set = (name: string, priority: number) => ({
    name,
    path: `${path}/${name}`,
    include: ['**'],
    exclude: [],
    priority,
  });
  const workers = meddling({ before: onRead })(createLocalWorkers({ store, clock: laterClock }));
  return createCheckpointer(
    {
      prefix: '',
      key: 'vm',
      sets: [set('first', 1), set('later', 90)],
      writer: { vmName: 'vm', vmId: 'id', bootId: 'boot' },
    },
    { store, workers, clock: laterClock },
  );
}

function files(folder: string, count: number, mib: number) {
  const entries = Array.from({ length: count }, (_, index) => {
    const content = pattern(mib * MIB, index + 1);
    return [`${folder}/f${index}`, { kind: 'file', content } as const] as const;
  });
  return Object.fromEntries(entries);
}

const packs = ({ calls }: MemoryClient, set: string) =>
  calls.filter(({ operation, name }) => operation === 'create' && name.includes(`/${set}/packs/`)).length;

test('while a set is committed, nothing more of the others is staged; what was sent of them is used', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { ...files('first', 1, 40), ...files('later', 24, 8) });
  const staging = Promise.withResolvers<void>();
  const mayEnd = Promise.withResolvers<void>();
  const store = createMemoryBlobs().connect({
    before({ operation, name }) {
      if (operation === 'create' && name.includes('/later/packs/')) staging.resolve();
      // The commit is under way until the test has seen enough.
      return operation === 'create' && name.includes('/first/checkpoints/00000002')
        ? mayEnd.promise
        : undefined;
    },
  });
  const checkpointer = twoSets(store, from.path);
  const later = checkpointer.stage('later', never());
  await staging.promise;
  const commit = checkpointer.commit({ set: 'first', reason: 'notice' }, never());
  await later;
  const before = packs(store, 'later');
  expect(before).toBeLessThan(20);
  await checkpointer.stage('later', never());
  await expect(
    checkpointer.stageIdle('later', { idleMs: 0, pace: { take: async () => undefined } }, never()),
  ).rejects.toMatchObject({ code: 'gave-way' });
  expect(packs(store, 'later')).toBe(before);
  mayEnd.resolve();
  expect(await commit).toMatchObject({ kind: 'committed' });
  expect(await checkpointer.commit({ set: 'later', reason: 'notice' }, never())).toMatchObject({ files: 24 });
  expect(packs(store, 'later')).toBeLessThan(30);
});

test('small files go before large ones, and what the config wants first before all others', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    'first/a-large': { kind: 'file', content: pattern(5 * MIB) },
    'first/b-small': { kind: 'file', content: 'small' },
    'first/c-first': { kind: 'file', content: pattern(6 * MIB) },
  });
  const read: string[] = [];
  const store = createMemoryBlobs().connect();
  const workers = meddling({ before: (paths) => void read.push(...paths) })(
    createLocalWorkers({ store, clock: laterClock, count: 1 }),
  );
  const set = {
    name: 'job',
    path: `${from.path}/first`,
    include: ['**'],
    exclude: [],
    priority: 1,
    first: ['c-*'],
  };
  const checkpointer = createCheckpointer(
    { prefix: '', key: 'vm', sets: [set], writer: { vmName: 'vm', vmId: 'id', bootId: 'boot' } },
    { store, workers, clock: laterClock },
  );
  await checkpointer.commit({ set: 'job', reason: 'notice' }, never());
  expect(read).toEqual(['c-first', 'b-small', 'a-large']);
});
