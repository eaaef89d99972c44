import { execFile } from 'node:child_process';
import { mkdir, open, rm, rmdir, writeFile } from 'node:fs/promises';
import { constants } from 'node:fs';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import {
  committed,
  laterClock,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { mayMount, smallDisk } from '../../support/small-disk.ts';
import { noting } from './rig.ts';

const run = promisify(execFile);

test('an index that could not be written is told, and written once that is possible', async () => {
  await using from = await testFolder();
  await using state = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const inTheWay = `${state.path}/job.index.jsonl.new`;
  await mkdir(inTheWay);
  const { codes, messages, onNote } = noting();
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const options = { indexDirectory: state.path, clock };
  const checkpointer = testCheckpointer(blobs.connect(), from.path, { ...options, onNote });
  await committed(checkpointer);
  clock.advance(120_000);
  await committed(checkpointer);
  await checkpointer.close();
  expect(new Set(codes)).toEqual(new Set(['index-unwritten']));
  expect(messages[0]).toContain(`${state.path}/job.index.jsonl can't be written`);
  await rmdir(inTheWay);
  await checkpointer.stage('job', never());
  await checkpointer.close();
  const next = testCheckpointer(blobs.connect(), from.path, options);
  await committed(next);
  expect(next.activity().get('job')).toMatchObject({ filesRead: 0 });
  await next.close();
});

test.skipIf(!mayMount)('a disk that is full costs the next process time, and no checkpoint', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await using disk = await smallDisk(64 * 1024);
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const blobs = createMemoryBlobs();
  const options = { indexDirectory: disk.path };
  const first = testCheckpointer(blobs.connect(), from.path, options);
  await committed(first);
  await writeFile(`${disk.path}/others`, Buffer.alloc(64 * 1024)).catch(() => undefined);
  await writeTree(
    from.path,
    Object.fromEntries(
      Array.from({ length: 100 }, (_, at) => [`f${at}`, { kind: 'file', content: `${at}` } as const]),
    ),
  );
  expect(await committed(first)).toMatchObject({ id: '00000003', files: 101 });
  await first.close();
  await changeFile(`${from.path}/a`, 'b');
  const { codes, onNote } = noting();
  const second = testCheckpointer(blobs.connect(), from.path, { ...options, onNote });
  await committed(second);
  // It was us, whatever the journal says.
  expect(codes).not.toContain('conflict');
  expect(codes).not.toContain('took-over');
  await rm(`${disk.path}/others`);
  await second.close();
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a disk that hangs is waited for as long as is said, and then done without', async () => {
  await using from = await testFolder();
  await using state = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const blobs = createMemoryBlobs();
  const options = { indexDirectory: state.path };
  const first = testCheckpointer(blobs.connect(), from.path, options);
  await committed(first);
  await first.close();
  // Time that is waited for passes a hundred times as fast.
  const asked: number[] = [];
  const clock = {
    ...laterClock,
    timer(delayMs: number, fire: () => void) {
      asked.push(delayMs);
      return systemClock.timer(delayMs / 100, fire);
    },
  };
  const { codes, onNote } = noting();
  const second = testCheckpointer(blobs.connect(), from.path, { ...options, clock, onNote });
  await second.prepare('job', never());
  // Nobody reads it: to open it for writing waits for ever.
  const file = `${state.path}/job.index.jsonl`;
  await rm(file);
  await run('mkfifo', [file]);
  await changeFile(`${from.path}/a`, 'b');
  expect(await committed(second)).toMatchObject({ id: '00000003' });
  expect(codes).toEqual(['index-unwritten']);
  expect(asked).toContain(2000);
  await second.close();
  expect(asked).toContain(5000);
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  // So that the thread which waits there ends.
  await using _reader = await open(file, constants.O_RDWR | constants.O_NONBLOCK);
});
