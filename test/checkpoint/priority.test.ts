import { expect, test } from 'vitest';

import { createCheckpointer } from '../../src/checkpoint/checkpointer.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { laterClock, never } from '../support/checkpoints.ts';
import { pattern, testFolder, writeTree } from '../support/file-tree.ts';
import { countCalls, createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const LIMITS = { requestsMax: 4, bytesMax: 16 * MIB };

/** Sets `first` (priority 1) and `later` (priority 90) below `path`, four blocks in flight. */
function twoSets(store: BlobStore, path: string) {
  const set = (name: string, priority: number) => ({
    name,
    path: `${path}/${name}`,
    include: ['**'],
    exclude: [],
    priority,
  });
  return createCheckpointer(
    {
      prefix: '',
      key: 'vm',
      sets: [set('first', 1), set('later', 90)],
      writer: { vmName: 'vm', vmId: 'id', bootId: 'boot' },
      limits: LIMITS,
    },
    { store, clock: laterClock },
  );
}

function files(folder: string, count: number, mib: number) {
  const entries = Array.from({ length: count }, (_, index) => {
    const content = pattern(mib * MIB, index + 1);
    return [`${folder}/f${index}`, { kind: 'file', content } as const] as const;
  });
  return Object.fromEntries(entries);
}

test('while a set is committed, nothing more of the others is staged', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { ...files('first', 1, 40), ...files('later', 12, 8) });
  const staging = Promise.withResolvers<void>();
  const mayEnd = Promise.withResolvers<void>();
  const store = createMemoryService().connect({
    before({ operation, name }) {
      if (operation === 'stageBlock' && name.includes('/later/')) staging.resolve();
      // The commit is under way until the test has seen enough.
      return operation === 'commitBlocks' ? mayEnd.promise : undefined;
    },
  });
  const checkpointer = twoSets(store, from.path);
  const later = checkpointer.stage('later', never());
  await staging.promise;
  const before = countCalls(store, 'stageBlock', '/later/');
  const commit = checkpointer.commit({ set: 'first', reason: 'notice' }, never());
  await later;
  await checkpointer.stage('later', never());
  mayEnd.resolve();
  expect(await commit).toMatchObject({ kind: 'committed' });
  // What held memory already was sent; nothing else was.
  expect(countCalls(store, 'stageBlock', '/later/') - before).toBeLessThanOrEqual(LIMITS.requestsMax);
  expect(before).toBeLessThan(24);
  // What was sent is used.
  expect(await checkpointer.commit({ set: 'later', reason: 'notice' }, never())).toMatchObject({ files: 12 });
  expect(countCalls(store, 'stageBlock', '/later/')).toBe(24);
});

test('of two sets that are committed at the same time, the one with the lower number is sent first', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { ...files('first', 6, 8), ...files('later', 12, 8) });
  const store = createMemoryService().connect();
  const checkpointer = twoSets(store, from.path);
  const commits = ['later', 'first'].map((set) => checkpointer.commit({ set, reason: 'notice' }, never()));
  for (const result of await Promise.all(commits)) expect(result.kind).toBe('committed');
  const sent = store.calls.filter(({ operation }) => operation === 'stageBlock').map(({ name }) => name);
  const isFirst = (name: string) => name.includes('/first/');
  // The other one had the store for itself while this one was looked at; from then on it only gets what is left.
  const contended = sent.slice(sent.findIndex(isFirst), sent.findLastIndex(isFirst));
  // In turns it would be a half.
  expect(contended.filter((name) => !isFirst(name)).length).toBeLessThan(0.4 * contended.length);
});
