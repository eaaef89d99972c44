import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { systemClock } from '../../../src/base/clock.ts';
import { createCheckpointer } from '../../../src/checkpoint/commit/checkpointer.ts';
import { createWorkers } from '../../../src/checkpoint/worker/create-workers.ts';
import { startAzurite } from '../../support/azurite.ts';
import { committed } from '../../support/checkpoints.ts';
import { testFolder } from '../../support/file-tree.ts';

/*
 * What many files cost: time, memory of the process, and how long the main thread is held, in each phase of a set's
 * life. On the emulator, so that times say little; holds and memory say what they would say on a VM.
 *
 *     node --expose-gc --max-semi-space-size=16 test/checkpoint/commit/many-files.ts --files 100000 --folders 1000
 */

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '100000' },
    folders: { type: 'string', default: '1000' },
    bytes: { type: 'string', default: '400' },
  },
});
const [files, folders, bytes] = [Number(values.files), Number(values.folders), Number(values.bytes)];
const MIB = 1024 ** 2;
const signal = new AbortController().signal;

await using from = await testFolder();
await using state = await testFolder();
const pathOf = (file: number) => `${from.path}/folder-${file % folders}/file-${file}`;
for (let folder = 0; folder < folders; folder++) await mkdir(`${from.path}/folder-${folder}`);
for (let file = 0; file < files; file += 500) {
  const some = Array.from({ length: Math.min(500, files - file) }, (_, at) => file + at);
  await Promise.all(some.map((one) => writeFile(pathOf(one), `${one}`.padEnd(bytes, 'x'))));
}

const azurite = await startAzurite();
const url = azurite.containerUrl();

function startProcess(bootId = 'boot') {
  const workers = createWorkers({ url, auth: { kind: 'azurite' } }, { clock: systemClock });
  const checkpointer = createCheckpointer(
    {
      prefix: '',
      key: 'vm',
      sets: [{ name: 'job', path: from.path, include: ['**'], exclude: [], priority: 1 }],
      writer: { vmName: 'vm', vmId: 'id', bootId },
      indexDirectory: state.path,
    },
    {
      store: workers.store,
      workers,
      clock: systemClock,
      onNote: (_, { message }) => process.stdout.write(`note: ${message}\n`),
    },
  );
  return { workers, checkpointer };
}

/** The longest turns of the event loop, ms of this thread's CPU time: others on the machine don't count. */
function watchTurns() {
  let longest: readonly number[] = [0, 0, 0, 0];
  let last = process.threadCpuUsage();
  let isOver = false;
  const turn = () => {
    const now = process.threadCpuUsage();
    const ms = (now.user + now.system - last.user - last.system) / 1000;
    if (ms > (longest[3] ?? 0)) longest = [...longest, ms].toSorted((one, other) => other - one).slice(0, 4);
    last = now;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  return () => {
    isOver = true;
    return longest;
  };
}

async function phase(name: string, work: () => Promise<unknown>): Promise<void> {
  const before = systemClock.monotonicMs();
  const turnsOf = watchTurns();
  await work();
  const turns = turnsOf();
  const { rss } = process.memoryUsage();
  globalThis.gc?.();
  const { heapUsed } = process.memoryUsage();
  const facts = [
    `${Math.round(systemClock.monotonicMs() - before)} ms`,
    `held ${turns.map(Math.round).join(', ')} ms`,
    `${Math.round(rss / MIB)} MiB resident`,
    `${Math.round(heapUsed / MIB)} MiB kept`,
  ];
  process.stdout.write(`${name.padEnd(34)} ${facts.join(', ')}\n`);
}

const idle = { idleMs: 0, pace: { take: async () => undefined } };
let { workers, checkpointer } = startProcess();
await workers.store.ensureContainer(signal);
await phase('first checkpoint', () => committed(checkpointer));
// Times are beyond doubt once a file was read a minute after they were seen.
await new Promise((resolve) => setTimeout(resolve, 61_000));
await phase('equal, all read again', () => committed(checkpointer));
await phase('equal, trusted', () => committed(checkpointer));
for (let file = 0; file < 10; file++) {
  await using handle = await open(pathOf(file * 97), 'r+');
  await handle.write(`changed ${file}`);
}
await phase('ten files changed', () => committed(checkpointer));
await phase('a pass in the background', () => checkpointer.stageIdle('job', idle, signal));
await phase('close', async () => {
  await checkpointer.close();
  await workers.close();
});
({ workers, checkpointer } = startProcess());
await phase('next process: prepare', () => checkpointer.prepare('job', signal));
await phase('next process: equal', () => committed(checkpointer));
await checkpointer.close();
await workers.close();
({ workers, checkpointer } = startProcess('another boot'));
await phase('next boot: prepare', () => checkpointer.prepare('job', signal));
await phase('next boot: equal, all read', () => committed(checkpointer));
await rm(pathOf(1));
await phase('next boot: one file less', () => committed(checkpointer));
await checkpointer.close();
await workers.close();
await azurite.stop();
