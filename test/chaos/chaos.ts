import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { formatDuration } from '../../src/base/units.ts';
import { startAzurite } from '../support/azurite.ts';
import { setup as buildWhenStale } from '../support/global-setup.ts';
import { numberOf, scriptOptions } from '../tools/script-options.ts';
import { setLoopback } from './faults.ts';
import { FAULTS, type FaultKind, planOf } from './plan.ts';
import { playRound } from './round.ts';

const USAGE = `npm run chaos -- [--rounds 30] [--seed N] [--json FILE]
The real daemon on a VM where everything breaks at random instants, then its checkpoint restored and compared.
Exit code 0 only without a violation.`;
/** Set in the namespace of its own, where taking the network away harms nobody. */
const INSIDE = 'EVICTD_CHAOS_INSIDE';

async function main(args: readonly string[]): Promise<void> {
  const values = scriptOptions(
    USAGE,
    {
      rounds: { type: 'string' },
      seed: { type: 'string' },
      json: { type: 'string' },
    },
    args,
  );
  if (process.env[INSIDE] === undefined && canUnshare()) {
    process.exitCode = runInside(args);
    return;
  }
  const isInside = process.env[INSIDE] !== undefined;
  if (isInside) setLoopback('up');
  const [library] = globSync('/usr/lib/*/faketime/libfaketime.so.1');
  const kinds = FAULTS.filter((kind) => isPossible(kind, isInside, library));
  const missing = FAULTS.filter((kind) => !kinds.includes(kind));
  if (missing.length > 0) console.log(`without ${missing.join(', ')}, which need root and libfaketime`);
  await buildWhenStale();
  const rounds = await playRounds({
    seed: numberOf('seed', values.seed, Date.now() % 1_000_000),
    count: numberOf('rounds', values.rounds, 30),
    kinds,
    library,
  });
  const violations = rounds.flatMap(({ result }) => result.violations).length;
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify({ rounds, violations })}\n`);
  console.log(`\n${rounds.length} rounds, ${violations} violations`);
  if (violations > 0) process.exitCode = 1;
}

interface Setting {
  readonly seed: number;
  readonly count: number;
  readonly kinds: readonly FaultKind[];
  readonly library: string | undefined;
}

async function playRounds({ seed, count, kinds, library }: Setting) {
  await using azurite = await startAzurite({ persistent: true });
  const rounds = [];
  for (let round = 0; round < count; round++) {
    const plan = planOf(seed + round, kinds);
    const startedAt = performance.now();
    const result = await playRound(plan, azurite, library).catch((error: unknown) => {
      throw new Error(`the round could not be played; ${replay(seed + round)}`, { cause: error });
    });
    const faults = plan.faults.map(({ kind }) => kind).join(' ');
    const summary = [
      `round ${round + 1}`,
      `seed ${seed + round}`,
      `${plan.notice === 'long' ? 'long notice' : `${plan.notice} s`}: ${faults}`,
      `${result.starts} starts`,
      `hooks ${result.hookStarts.join(' ')}`,
      `${result.outcome}, ${result.restored}`,
      formatDuration(performance.now() - startedAt),
    ];
    console.log(`${result.violations.length === 0 ? 'ok  ' : 'FAIL'} ${summary.join(' · ')}`);
    for (const violation of result.violations) console.log(`     ${violation}`);
    if (result.violations.length > 0) console.log(`     ${replay(seed + round)}`);
    for (const [life, log] of result.logs.entries()) console.log(`     life ${life + 1}:\n${log}`);
    rounds.push({ seed: seed + round, plan, result });
  }
  return rounds;
}

function replay(seed: number): string {
  return `again: npm run chaos -- --rounds 1 --seed ${seed}`;
}

function isPossible(kind: FaultKind, isInside: boolean, library: string | undefined): boolean {
  if (kind === 'clock') return library !== undefined;
  return isInside || (kind !== 'disk-full' && kind !== 'no-route');
}

const UNSHARE = ['--net', '--mount', '--propagation', 'private'];

function canUnshare(): boolean {
  return spawnSync('unshare', [...UNSHARE, 'ip', 'link'], { stdio: 'ignore' }).status === 0;
}

/** This program again, with a network and mounts of its own; answers its exit code. */
function runInside(args: readonly string[]): number {
  const self = [process.execPath, fileURLToPath(import.meta.url), ...args];
  const { status } = spawnSync('unshare', [...UNSHARE, ...self], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  });
  return status ?? 1;
}

await main(process.argv.slice(2));
