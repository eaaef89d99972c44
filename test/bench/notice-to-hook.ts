import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { z } from 'zod';

import { startAzurite } from '../support/azurite.ts';
import { pattern } from '../support/file-tree.ts';
import { createSpotVm, until } from '../support/spot-vm.ts';
import { type Summary, summarize } from './statistics.ts';

const PROBE = fileURLToPath(new URL('probe.ts', import.meta.url));
// bash has the time in a variable, so that its first command needs no further process.
const HOOK = '#!/bin/bash\necho "$EPOCHREALTIME" >> "${0%/*}/stamps"\n';
const TARGET_MS = 20;
/** Of the daemon, see spot-vm.ts. */
const POLL_MS = 250;
/** A VM is up for minutes at least before it is evicted; its start is not what is measured. */
const SETTLE_MS = 3000;

const Marks = z.object({
  answer: z.number(),
  journal: z.number(),
  journaled: z.number(),
  spawn: z.number(),
  spawned: z.number(),
});
type Marks = z.infer<typeof Marks>;

export interface NoticeOptions {
  readonly notices: number;
  /** A checkpoint set whose files have all changed is staged at the same time. */
  readonly withSet: boolean;
}

/** Puts load on the machine of the daemon `pid`, once it has settled. */
export type Loaded = (folder: string, pid: number) => Promise<AsyncDisposable>;

export interface NoticeToHook extends NoticeOptions {
  readonly name: 'notice → hook';
  /** In the order in which they follow each other; the last two are sums. */
  readonly steps: Readonly<Record<string, Summary>>;
  /** The same program, started by a process that does nothing else. */
  readonly bare: Readonly<Record<string, Summary>>;
  /** How much longer than planned it was from one poll to the next. */
  readonly pollLate: Summary;
  readonly targetMs: number;
  /** The 99th percentile of the part inside the process is below the target. */
  readonly met: boolean;
}

/**
 * From the moment at which one daemon process has read the answer that announces an event to its hook's first command:
 * the built program, its journal on disk, the mock service over loopback, one event after the other.
 */
export async function measureNoticeToHook(options: NoticeOptions, load?: Loaded): Promise<NoticeToHook> {
  const { notices } = options;
  const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
  const hook = join(folder, 'hook');
  await writeFile(hook, HOOK, { mode: 0o755 });
  try {
    const offsets = await drainAgainAndAgain(folder, hook, options, load);
    const marks = await readLines(join(folder, 'marks'), parseMarks);
    const stamps = await readStamps(folder, offsets);
    if (marks.length !== notices || stamps.length !== notices)
      throw new Error(`${notices} notices, but ${marks.length} starts and ${stamps.length} hooks`);
    const steps = summarizeAll(marks.map((one, round) => stepsOf(one, stamps[round] ?? Number.NaN)));
    const bare = summarizeAll(await spawnBare(folder, hook, notices));
    const met = (steps[INSIDE]?.p99 ?? Infinity) < TARGET_MS;
    const polls = await readLines(join(folder, 'marks.polls'), (ns) => Number(ns) / 1e6);
    const gaps = polls.slice(1).map((at, index) => at - (polls[index] ?? Number.NaN) - POLL_MS);
    return {
      name: 'notice → hook',
      ...options,
      steps,
      bare,
      pollLate: summarize(gaps),
      targetMs: TARGET_MS,
      met,
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}

const INSIDE = 'answer → spawned';
const TO_HOOK = 'answer → first command of the hook';

function stepsOf({ answer, journal, journaled, spawn, spawned }: Marks, stamp: number) {
  return {
    'answer → decided': journal - answer,
    'journal on disk': journaled - journal,
    'checks before the start': spawn - journaled,
    'spawn()': spawned - spawn,
    [INSIDE]: spawned - answer,
    [TO_HOOK]: stamp - answer,
  };
}

/** Answers the wall clock minus the monotonic one, in ms, for each round: the first may be slewed meanwhile. */
async function drainAgainAndAgain(
  folder: string,
  hook: string,
  { notices, withSet }: NoticeOptions,
  load: Loaded | undefined,
): Promise<number[]> {
  await using stack = new AsyncDisposableStack();
  const azurite = withSet ? stack.use(await startAzurite()) : undefined;
  const auth = { kind: 'azurite' as const };
  await using vm = await createSpotVm({
    ...(azurite !== undefined && { store: { url: azurite.containerUrl(), auth } }),
    hooks: [{ name: 'stamp', run: [hook] }],
    // Gone as soon as it is acknowledged, so that the next one can come.
    scenario: { service: { startAfterAck: '0s', startedFor: '0s' } },
    env: {
      // As under systemd: telling it starts a program each time, whether or not anybody listens.
      NOTIFY_SOCKET: join(folder, 'nobody.sock'),
      NODE_OPTIONS: `--import=${PROBE}`,
      BENCH_PROBE_FILE: join(folder, 'marks'),
      BENCH_PROBE_HOOK: hook,
    },
  });
  const daemon = await vm.daemon();
  await new Promise((resolve) => {
    setTimeout(resolve, SETTLE_MS);
  });
  await using _loaded = await load?.(folder, daemon.pid);
  const offsets: number[] = [];
  for (let round = 1; round <= notices; round++) {
    if (withSet) await changeFiles(vm.job, round);
    vm.preempt();
    const over = () => daemon.log.filter(({ code }) => code === 'watching-again').length >= round;
    await until(`end of drain ${round}`, over);
    offsets.push(wallMinusMonotonicMs());
  }
  await daemon.stop();
  return offsets;
}

async function changeFiles(job: string, round: number): Promise<void> {
  await writeFile(join(job, 'model'), pattern(16 * 1024 ** 2, round));
  for (let file = 0; file < 100; file++) {
    await writeFile(join(job, `shard-${file}`), pattern(16 * 1024, round * 1000 + file));
  }
}

/** The same program with the same pipes; its own first command too. */
async function spawnBare(folder: string, hook: string, times: number) {
  await rm(join(folder, 'stamps'));
  const calls: { readonly start: number; readonly spawned: number }[] = [];
  const offsets: number[] = [];
  for (let round = 0; round < times; round++) {
    const start = monotonicMs();
    const child = spawn(hook, [], { cwd: '/', env: {}, stdio: 'pipe', detached: true });
    calls.push({ start, spawned: monotonicMs() });
    child.stdin.end();
    await once(child, 'close');
    offsets.push(wallMinusMonotonicMs());
  }
  const stamps = await readStamps(folder, offsets);
  return calls.map(({ start, spawned }, round) => ({
    'spawn()': spawned - start,
    'spawn() → first command': (stamps[round] ?? Number.NaN) - start,
  }));
}

function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Date has whole milliseconds, but the instant at which it goes on is exact. */
function wallMinusMonotonicMs(): number {
  const before = Date.now();
  let now = before;
  while (now === before) now = Date.now();
  return now - monotonicMs();
}

function parseMarks(line: string): Marks {
  const noted = z.array(z.tuple([z.string(), z.string()])).parse(JSON.parse(line));
  // The first of each name: a drain writes its journal several times.
  return Marks.parse(Object.fromEntries(noted.toReversed().map(([name, ns]) => [name, Number(ns) / 1e6])));
}

/** When the hooks ran, on the monotonic clock. */
async function readStamps(folder: string, offsets: readonly number[]): Promise<number[]> {
  const walls = await readLines(join(folder, 'stamps'), (line) => Number(line) * 1000);
  return walls.map((wall, round) => wall - (offsets[round] ?? Number.NaN));
}

async function readLines<T>(file: string, parse: (line: string) => T): Promise<T[]> {
  const text = await readFile(file, 'utf8');
  return text.trim().split('\n').map(parse);
}

function summarizeAll(rounds: readonly Readonly<Record<string, number>>[]): Record<string, Summary> {
  const names = Object.keys(rounds[0] ?? {});
  return Object.fromEntries(
    names.map((name) => [name, summarize(rounds.map((round) => round[name] ?? Number.NaN))]),
  );
}
