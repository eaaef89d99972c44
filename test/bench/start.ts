import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { type ProcessUsage, usageOf } from '../support/process-usage.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { type Program, type StartRig, type Started, createStartRig, startLoop } from './start-rig.ts';
import { type Summary, summarize } from './statistics.ts';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
/**
 * The first pass over the sets comes within 30 s of the start; the pass after the first minute compares files once more
 * that were written just before they were read, and what it used is given back 10 s later.
 */
const SETTLE_MS = 110_000;
const WATCH_MS = 60_000;
const SAMPLE_MS = 1000;
const MIB = 1024 ** 2;

export interface StartBench {
  readonly name: 'start';
  readonly rounds: number;
  /** From the start of the process to its first poll, in ms. */
  readonly firstPoll: Readonly<Record<string, Summary>>;
  /** Once all is staged: medians of a sample each second. */
  readonly idle: Readonly<Record<string, Idle>>;
}

export interface Idle {
  readonly rssBytes: number;
  readonly anonymousBytes: number;
  /** Children that have ended included. */
  readonly cpuPercent: number;
}

/**
 * What evictd takes of a VM on which everything is configured, as it is packaged and as the bundle under plain Node:
 * the time until it watches, and memory and CPU time while it does; beside a shell loop that only polls.
 */
export async function measureStart(rounds: number): Promise<StartBench> {
  const { missing } = ensureDebianPackages(['curl', 'jq']);
  if (missing.length > 0) throw new Error(`there is nothing to compare with: install ${missing.join(', ')}`);
  const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
  try {
    await using rig = await createStartRig(folder);
    const cache = join(folder, 'cache');
    const packaged = await rig.tuned('packaged', cache);
    // Fills the cache, as installing the package does.
    await startAndStop(rig, packaged);
    const firstPoll = await measureFirstPolls(rig, packaged, rounds);
    return { name: 'start', rounds, firstPoll, idle: await measureIdle(rig, packaged) };
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function measureFirstPolls(rig: StartRig, packaged: Program, rounds: number) {
  const times: Record<string, number[]> = {};
  const note = (name: string, ms: number) => (times[name] ??= []).push(ms);
  for (let round = 0; round < rounds; round++) {
    const empty = join(rig.folder, `empty-${round}`);
    await mkdir(empty);
    const cold = await rig.tuned('packaged, nothing compiled', empty);
    for (const program of [packaged, cold, rig.plain]) note(program.name, await startAndStop(rig, program));
  }
  return Object.fromEntries(Object.entries(times).map(([name, values]) => [name, summarize(values)]));
}

async function startAndStop(rig: StartRig, program: Program): Promise<number> {
  await using started = await rig.start(program);
  // Compiled code is kept when the process ends, and only of what ran.
  await started.said('checkpoint store is ready');
  return started.firstPollMs;
}

/** All of them at the same time, so that what else the machine does is the same for each. */
async function measureIdle(rig: StartRig, packaged: Program): Promise<Record<string, Idle>> {
  await using stack = new AsyncDisposableStack();
  const watched: (readonly [string, Started])[] = [];
  for (const program of [packaged, rig.plain]) {
    watched.push([program.name, stack.use(await rig.start(program))]);
  }
  watched.push(['bash, curl and jq', stack.use(await startLoop(rig.imdsUrl))]);
  await pause(SETTLE_MS);
  const before = new Map<string, number>();
  for (const [name, { pid }] of watched) before.set(name, (await usageOf(pid)).cpuMs);
  const samples = new Map(watched.map(([name]) => [name, [] as ProcessUsage[]]));
  const startedAt = performance.now();
  while (performance.now() - startedAt < WATCH_MS) {
    for (const [name, { pid }] of watched) samples.get(name)?.push(await usageOf(pid));
    await pause(SAMPLE_MS);
  }
  const tookMs = performance.now() - startedAt;
  const result: Record<string, Idle> = {};
  for (const [name, { pid }] of watched) {
    const { cpuMs } = await usageOf(pid);
    const taken = samples.get(name) ?? [];
    result[name] = {
      rssBytes: summarize(taken.map(({ rss }) => rss)).median,
      anonymousBytes: summarize(taken.map(({ anonymous }) => anonymous)).median,
      cpuPercent: ((cpuMs - (before.get(name) ?? 0)) / tookMs) * 100,
    };
  }
  return result;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

export const FIRST_POLL_HEADER = ['start → first poll, ms', 'median', 'max'];
export const IDLE_HEADER = ['idle, 1 Hz', 'RSS MiB', 'anonymous MiB', 'CPU %'];

export function firstPollRows({ firstPoll }: StartBench): string[][] {
  return Object.entries(firstPoll).map(([name, { median, max }]) => [
    name,
    median.toFixed(0),
    max.toFixed(0),
  ]);
}

export function idleRows({ idle }: StartBench): string[][] {
  return Object.entries(idle).map(([name, { rssBytes, anonymousBytes, cpuPercent }]) => [
    name,
    (rssBytes / MIB).toFixed(1),
    (anonymousBytes / MIB).toFixed(1),
    cpuPercent.toFixed(2),
  ]);
}

/** Of what `npm run package` has made. */
export async function packageRows(): Promise<string[][]> {
  const names = (await readdir(DIST)).filter((name) => /\.(?:deb|rpm|tar\.[gx]z)$/.test(name));
  return Promise.all(
    names.toSorted().map(async (name) => [name, ((await stat(join(DIST, name))).size / 1e6).toFixed(1)]),
  );
}
