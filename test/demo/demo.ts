// npm run demo: an eviction from notice to acknowledged, on real parts, and once more with the daemon killed in the
// middle. Exit code 0 only if everything that it says held.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { buildBundle } from '../../packaging/build.ts';
import { formatDuration, formatSize } from '../../src/base/units.ts';
import { startAzurite } from '../support/azurite.ts';
import { compareFolders } from './compare.ts';
import { type Machine, createMachine, isCode } from './machine.ts';
import { type Screen, createTimeline } from './timeline.ts';

const screen: Screen = {
  write: (text) => void process.stdout.write(text),
  isTerminal: process.stdout.isTTY,
};
const NOTICE = '30s';

async function main(): Promise<void> {
  const root = await mkdtemp(path.join(tmpdir(), 'evictd-demo-'));
  const began = Date.now();
  try {
    await buildBundle();
    await using azurite = await startAzurite();
    const storeUrl = azurite.containerUrl('demo');
    heading('Act 1: fleet_1 is evicted');
    const first = await createMachine({
      root: path.join(root, 'fleet_1'),
      name: 'fleet_1',
      storeUrl,
      hookSeconds: 0,
    });
    const saved = path.join(root, 'restored-1');
    try {
      await evict(first, { killIn: undefined });
      await restoreAndCompare(first, saved);
    } finally {
      await first.close();
    }
    heading('Act 2: fleet_2 goes on from the checkpoint; evictd is killed in the middle of its drain');
    const second = await createMachine({
      root: path.join(root, 'fleet_2'),
      name: 'fleet_2',
      storeUrl,
      hookSeconds: 1,
    });
    try {
      await second.restore(second.state);
      say(`evictd restore brought step ${await stepOf(second)} back before the worker starts`);
      await evict(second, { killIn: 'before-checkpoint' });
      await restoreAndCompare(second, path.join(root, 'restored-2'));
    } finally {
      await second.close();
    }
    screen.write(`\nAll of it held. The demo took ${formatDuration(Date.now() - began)}.\n`);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** Lets the worker work, announces the eviction, draws what happens, and checks how it ended. */
async function evict(machine: Machine, { killIn }: { killIn: string | undefined }): Promise<void> {
  const worker = machine.worker();
  await worker.line('the worker', (line) => line.includes('training'));
  let daemon = machine.daemon();
  await daemon.line('evictd', isCode('identified'));
  await workedFor(machine, 30);
  say(`the worker is at step ${await stepOf(machine)}, evictd polls every second`);
  if (killIn === undefined) {
    say(`evictd checkpoint, as cron would: ${await machine.checkpoint()}`);
    await workedFor(machine, 20);
  }
  const timeline = createTimeline(screen, process.env);
  const follow = (running: typeof daemon) => {
    for (const line of running.lines) timeline.take(line);
    running.onLine((line) => timeline.take(line));
  };
  follow(daemon);
  const ticker = setInterval(() => timeline.progress('draining'), 100);
  try {
    const id = await machine.preempt(NOTICE);
    if (killIn !== undefined) {
      await daemon.line('the notice', isCode('event-noticed'));
      await hookStarted(machine);
      await daemon.stop('SIGKILL');
      timeline.say('kill -9', 'evictd is killed while its hook runs, and started again as systemd would');
      daemon = machine.daemon();
      follow(daemon);
    }
    await daemon.line('the end of the drain', isCode('drain-ended'), 40_000);
    const acks = await machine.acks();
    check(
      acks.length === 1 && acks[0] === id,
      `exactly one ack, for ${id}; there were: ${acks.join(', ') || 'none'}`,
    );
    const success = daemon.lines.some(
      (line) => isCode('drain-ended')(line) && line.includes('"outcome":"success"'),
    );
    check(success, 'the drain ended in success');
    check((await daemon.stop()) === 0, 'evictd ended cleanly');
  } finally {
    clearInterval(ticker);
    timeline.end();
  }
  const starts = (await readFile(machine.hookLog, 'utf8')).trim().split('\n');
  const expected = killIn === undefined ? 1 : 2;
  check(starts.length === expected, `the hook was started ${expected} times; it says: ${starts.join(' / ')}`);
}

async function restoreAndCompare(machine: Machine, to: string): Promise<void> {
  const began = Date.now();
  await machine.restore(to);
  const took = formatDuration(Date.now() - began);
  const { files, bytes, differences } = await compareFolders(machine.state, to);
  check(differences.length === 0, `these files differ: ${differences.join(', ')}`);
  check(files > 0, 'there was something to compare');
  say(`restored into an empty folder in ${took}: ${files} files, ${formatSize(bytes)}, every byte the same`);
}

async function stepOf(machine: Machine): Promise<number> {
  return Number(await readFile(path.join(machine.state, 'step'), 'utf8').catch(() => '0'));
}

/** Until the worker has made this many more steps. */
async function workedFor(machine: Machine, steps: number): Promise<void> {
  const from = await stepOf(machine);
  await until('the worker works', async () => (await stepOf(machine)) >= from + steps);
}

async function hookStarted(machine: Machine): Promise<void> {
  await until(
    'the hook starts',
    async () => (await readFile(machine.hookLog, 'utf8').catch(() => '')) !== '',
  );
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!(await holds())) {
    check(Date.now() < deadline, `${what} in time`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`the demo expected: ${what}`);
}

function heading(text: string): void {
  screen.write(`\n${text}\n${'─'.repeat(text.length)}\n`);
}

function say(text: string): void {
  screen.write(`  ${text}\n`);
}

try {
  await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
