import { link, mkdir, rm } from 'node:fs/promises';

import { expect, test, vi } from 'vitest';

import type { Clock } from '../../../src/base/clock.ts';
import { EvictdError } from '../../../src/base/errors.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import type { SetOptions } from '../../../src/checkpoint/scan/set-options.ts';
import {
  PLACE,
  committed,
  laterClock,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { LARGE, entryBlob, manifestOf, meddling } from './rig.ts';

const WINDOW_MS = 600_000;
const HOUR_MS = 3_600_000;

/** Timers of minutes fire when a test says so, and it is shortly before the end then. */
function deadlineClock() {
  const fires: (() => void)[] = [];
  const shifted = shiftedClock();
  const clock: Clock = {
    ...shifted,
    timer(ms, fire) {
      if (ms > WINDOW_MS / 2 || ms < WINDOW_MS / 3) return shifted.timer(ms, fire);
      fires.push(fire);
      return { [Symbol.dispose]: () => undefined };
    },
  };
  const next = () => {
    shifted.advance(WINDOW_MS - 1900);
    fires.shift()?.();
  };
  return { clock, next };
}

/** A set of which the file `slow` is read only once it is told to. */
async function slowSet(set: Partial<SetOptions> = {}) {
  const from = await testFolder();
  const service = { aheadMs: 0 };
  const blobs = createMemoryBlobs({ wallMs: () => laterClock.wallMs() + service.aheadMs });
  const { clock, next } = deadlineClock();
  const held = { isOn: false, ...Promise.withResolvers<void>() };
  const controller = new AbortController();
  const aborted = new Promise<void>((resolve) =>
    controller.signal.addEventListener('abort', () => resolve()),
  );
  const workers = meddling({
    before: (paths) =>
      held.isOn && paths.includes('slow') ? Promise.race([held.promise, aborted]) : undefined,
  });
  const options = { clock, workers, set: { atDeadline: 'files' as const, ...set } };
  const checkpointer = testCheckpointer(blobs.connect(), from.path, options);
  const atNotice = () => {
    held.isOn = true;
    const endsAt = clock.monotonicMs() + WINDOW_MS;
    return checkpointer.commit({ set: 'job', reason: 'notice', endsAt }, controller.signal);
  };
  return {
    path: from.path,
    blobs,
    service,
    checkpointer,
    async untilMade(id: string) {
      await vi.waitFor(() => expect(blobs.names()).toContain(entryBlob(id)), { timeout: 20_000 });
    },
    atNotice,
    /** Time passes until a partial one is due. */
    half: next,
    goOn: held.resolve,
    endTime: () => controller.abort(new EvictdError('timeout', 'the time is over')),
    [Symbol.asyncDispose]: () => from[Symbol.asyncDispose](),
  };
}

/** Files are read in the threads' own time. */
async function untilSmallOnesWereRead(checkpointer: ReturnType<typeof testCheckpointer>, count: number) {
  await vi.waitFor(
    () => expect(checkpointer.activity().get('job')?.filesRead).toBeGreaterThanOrEqual(count),
    { timeout: 20_000 },
  );
}

async function beforeAndAfter({ path, checkpointer }: Awaited<ReturnType<typeof slowSet>>) {
  await writeTree(path, {
    small: { kind: 'file', content: 'old' },
    gone: { kind: 'file', content: 'was there' },
    slow: { kind: 'file', content: pattern(LARGE, 1) },
  });
  await committed(checkpointer);
  const before = await readTree(path);
  await changeFile(`${path}/small`, 'new');
  await changeFile(`${path}/slow`, pattern(LARGE, 2));
  await rm(`${path}/gone`);
  await mkdir(`${path}/folder`);
  await writeTree(path, {
    'folder/more': { kind: 'file', content: 'more' },
    'folder/slow-too': { kind: 'file', content: pattern(LARGE, 3) },
  });
  await link(`${path}/small`, `${path}/small-too`);
  return { before, after: await readTree(path) };
}

test('what is stored when the time runs out is a checkpoint, with the rest as before', async () => {
  await using slow = await slowSet();
  await using to = await testFolder();
  const { before, after } = await beforeAndAfter(slow);
  const { checkpointer, blobs } = slow;
  const readBefore = checkpointer.activity().get('job')?.filesRead ?? 0;
  const answer = slow.atNotice();
  await untilSmallOnesWereRead(checkpointer, readBefore + 2);
  slow.half();
  await slow.untilMade('00000003');
  slow.endTime();
  const result = await answer;
  expect(result).toMatchObject({ kind: 'failed', code: 'timeout', id: '00000003', retryable: true });
  expect(result.kind === 'failed' && result.detail).toMatch(
    /the time is over; the partial checkpoint 00000003 has/,
  );
  const { partial, totals } = manifestOf(blobs, '00000003');
  expect(partial?.older).toEqual({ count: 2, paths: ['gone', 'slow'] });
  expect(totals.files).toBeGreaterThanOrEqual(4);
  const restored = await restoreJob(blobs.connect(), to.path, '00000003');
  expect(restored).toMatchObject({ id: '00000003' });
  const tree = await readTree(to.path);
  expect(tree['slow']).toBe(before['slow']);
  expect(tree['gone']).toBe(before['gone']);
  for (const path of ['small', 'small-too', 'folder/more']) expect(tree[path]).toBe(after[path]);
});

test('sending goes on, and a whole one follows', async () => {
  await using slow = await slowSet();
  await using to = await testFolder();
  const { after } = await beforeAndAfter(slow);
  const { checkpointer, blobs } = slow;
  const readBefore = checkpointer.activity().get('job')?.filesRead ?? 0;
  const answer = slow.atNotice();
  await untilSmallOnesWereRead(checkpointer, readBefore + 2);
  slow.half();
  await slow.untilMade('00000003');
  // Whoever prunes meanwhile leaves what the whole one will need.
  slow.service.aheadMs = 2 * HOUR_MS;
  await pruneSet({ place: PLACE, keep: 1, dryRun: false }, { store: blobs.connect() }, never());
  slow.goOn();
  expect(await answer).toMatchObject({ kind: 'committed', id: '00000004' });
  expect(manifestOf(blobs, '00000004').partial).toBeUndefined();
  await restoreJob(blobs.connect(), to.path, '00000004');
  expect(await readTree(to.path)).toEqual(after);
});

test('files that go together are all new or all as before', async () => {
  await using slow = await slowSet({ together: ['small', 'slow'] });
  await using to = await testFolder();
  const { before, after } = await beforeAndAfter(slow);
  const { checkpointer, blobs } = slow;
  const readBefore = checkpointer.activity().get('job')?.filesRead ?? 0;
  const answer = slow.atNotice();
  await untilSmallOnesWereRead(checkpointer, readBefore + 2);
  slow.half();
  await slow.untilMade('00000003');
  slow.endTime();
  expect(await answer).toMatchObject({ id: '00000003' });
  await restoreJob(blobs.connect(), to.path, '00000003');
  const tree = await readTree(to.path);
  for (const path of ['small', 'slow']) expect(tree[path]).toBe(before[path]);
  expect(tree['folder/more']).toBe(after['folder/more']);
});

test.each([
  ['where nothing new is stored', { exclude: ['/*', '!slow'] }],
  ['where a set wants all or nothing', { atDeadline: 'previous' as const }],
])('%s there is none', async (_what, set) => {
  await using slow = await slowSet(set);
  await beforeAndAfter(slow);
  const answer = slow.atNotice();
  slow.half();
  slow.goOn();
  expect(await answer).toMatchObject({ kind: 'committed', id: '00000003' });
  expect(manifestOf(slow.blobs, '00000003').partial).toBeUndefined();
});
