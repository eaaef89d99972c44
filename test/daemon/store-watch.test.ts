import { expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { createProbe } from '../../src/checkpoint/store/probe.ts';
import { startStoreWatch } from '../../src/daemon/store-watch.ts';
import { manualClock } from '../imds/support.ts';
import { type BlobCall, createMemoryBlobs, storeError } from '../support/memory-blobs.ts';

const STEP_MS = 10_000;
const MINUTE_MS = 60_000;
const QUARTER_MS = 15 * MINUTE_MS;

/** A watch over a container of which the test says what may be done there. */
function rig() {
  const clock = manualClock();
  const blobs = createMemoryBlobs();
  const state: { mayNot: BlobCall['operation'] | undefined; why: string; token: EvictdError | undefined } = {
    mayNot: undefined,
    why: 'forbidden',
    token: undefined,
  };
  const store = blobs.connect({
    before({ operation }) {
      if (operation === state.mayNot) throw storeError('forbidden', state.why);
    },
  });
  const told: string[] = [];
  const start = () =>
    startStoreWatch({
      probe: createProbe(store, 'p/vm-1/drill/'),
      reach: (signal) => store.ensureContainer(signal),
      tokenError: () => state.token,
      clock,
      onProblem: ({ message }) => told.push(message),
      onWorks: () => told.push('works'),
    });
  const done = () => store.calls.map(({ operation }) => operation);
  /** Answers take no time, but some turns of the event loop. */
  const pass = async (ms: number) => {
    for (let passed = 0; passed <= ms; passed += STEP_MS) {
      if (passed > 0) await clock.advance(STEP_MS);
      for (let turn = 0; turn < 20; turn++) await clock.advance(0);
    }
  };
  return { pass, blobs, state, told, start, done };
}

test('the start writes, lists, reads and removes a blob; after that it is only seen whether the store answers', async () => {
  const { pass, blobs, told, start, done } = rig();
  using watch = start();
  await pass(0);
  expect(done()).toEqual(['create', 'list', 'read', 'remove']);
  expect(blobs.names()).toEqual([]);
  await pass(2 * QUARTER_MS);
  expect(done().slice(4)).toEqual(['ensureContainer', 'ensureContainer']);
  expect(watch.problem()).toBeUndefined();
  expect(told).toEqual([]);
});

test.each(['create', 'list', 'read', 'remove'] as const)(
  'that it may not %s is told once, tried again each minute, and over when it works',
  async (operation) => {
    const { pass, blobs, state, told, start, done } = rig();
    state.mayNot = operation;
    using watch = start();
    await pass(3 * MINUTE_MS);
    const why = `evictd may not ${operation === 'create' ? 'write' : operation} blobs below p/vm-1/drill/: forbidden`;
    expect(told).toEqual([why]);
    expect(blobs.names()).toHaveLength(operation === 'remove' ? 1 : 0);
    expect(watch.problem()).toMatchObject({ code: 'forbidden', message: why });
    expect(done().filter((one) => one === 'create')).toHaveLength(4);
    state.mayNot = undefined;
    await pass(MINUTE_MS);
    expect(told).toEqual([why, 'works']);
    expect(watch.problem()).toBeUndefined();
    expect(blobs.names()).toEqual([]);
  },
);

test('another reason is told, too', async () => {
  const { pass, state, told, start } = rig();
  state.mayNot = 'create';
  using _watch = start();
  await pass(0);
  state.why = 'the container is gone';
  await pass(MINUTE_MS);
  expect(told).toEqual([
    'evictd may not write blobs below p/vm-1/drill/: forbidden',
    'evictd may not write blobs below p/vm-1/drill/: the container is gone',
  ]);
});

test('a role that is taken away later, and a token that can not be renewed, are noticed', async () => {
  const { pass, state, told, start } = rig();
  using _watch = start();
  await pass(0);
  state.mayNot = 'ensureContainer';
  await pass(QUARTER_MS);
  expect(told).toEqual(['forbidden']);
  state.mayNot = undefined;
  state.token = new EvictdError('no-token', 'no identity is assigned');
  await pass(MINUTE_MS);
  state.token = undefined;
  await pass(MINUTE_MS);
  expect(told).toEqual(['forbidden', 'no identity is assigned', 'works']);
});

test('nothing is asked or told once it is over', async () => {
  const { pass, state, told, start, done } = rig();
  state.mayNot = 'create';
  const watch = start();
  watch[Symbol.dispose]();
  await pass(QUARTER_MS);
  expect(done()).toEqual(['create']);
  expect(told).toEqual([]);
});
