// Plays whole lives of the daemon in a simulated world, each from its seed, and checks what must never happen:
// npm run soak -- [--minutes N | --lives N] [--seed S] [--json FILE] [--trace] [--mutation NAME]
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { openDoors } from './boot.ts';
import type { LifeResult } from './life.ts';
import { MUTATIONS, isMutationName } from './mutations.ts';
import { watchImmediates } from './settled.ts';

const MINUTES = 10;
const TOLD_EVERY_MS = 30_000;

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string' },
      lives: { type: 'string' },
      seed: { type: 'string', default: String(randomInt(1_000_000_000)) },
      json: { type: 'string' },
      trace: { type: 'boolean', default: false },
      mutation: { type: 'string' },
    },
  });
  const { mutation } = values;
  if (mutation !== undefined && !isMutationName(mutation))
    throw new Error(`no mutation ${mutation}; there are: ${Object.keys(MUTATIONS).join(', ')}`);
  openDoors(mutation === undefined ? [] : MUTATIONS[mutation].replacements);
  const first = Number(values.seed);
  const lives = Number(values.lives ?? (values.minutes === undefined && values.trace ? 1 : Infinity));
  const minutes = Number(values.minutes ?? (values.lives === undefined ? MINUTES : Infinity));
  const again = (seed: number) =>
    `npm run soak -- --seed ${seed} --lives 1 --trace${mutation === undefined ? '' : ` --mutation '${mutation}'`}`;
  console.log(`seeds from ${first} on`);
  const result = await live({ first, lives, minutes, isTraced: values.trace });
  const { lives: count, seconds, counts, failed } = result;
  console.log(`${count} lives in ${seconds.toFixed(1)} s, ${Math.round((60 * count) / seconds)} a minute:`);
  console.log(
    Object.entries(counts)
      .map(([what, number]) => `${number} ${what}`)
      .join(', '),
  );
  if (values.json !== undefined)
    await writeFile(values.json, `${JSON.stringify({ first, ...result }, null, 2)}\n`);
  if (failed === undefined) return console.log('no violation');
  for (const violation of failed.violations) console.error(`seed ${failed.seed}: ${violation}`);
  console.error(`to see it again: ${again(failed.seed)}`);
  process.exitCode = 1;
}

interface SoakResult {
  readonly lives: number;
  readonly seconds: number;
  readonly counts: Readonly<Record<string, number>>;
  /** The first life that broke a rule; it is the last one that was lived. */
  readonly failed: LifeResult | undefined;
}

async function live(plan: {
  readonly first: number;
  readonly lives: number;
  readonly minutes: number;
  readonly isTraced: boolean;
}): Promise<SoakResult> {
  // The simulated disk fails by the thousand, and nobody reads where.
  if (!plan.isTraced) Error.stackTraceLimit = 0;
  const { settled } = watchImmediates();
  // Only now: what it imports is to come through the doors.
  const { liveOnce } = await import('./life.ts');
  const strays: string[] = [];
  process.on('unhandledRejection', (error) => strays.push(`unhandled rejection: ${String(error)}`));
  const trace = plan.isTraced ? (text: string) => console.log(text) : () => undefined;
  const startedAt = performance.now();
  const elapsedMs = () => performance.now() - startedAt;
  const counts: Record<string, number> = {};
  let lives = 0;
  let failed: LifeResult | undefined;
  for (let toldAt = 0; failed === undefined && lives < plan.lives && elapsedMs() < plan.minutes * 60_000;) {
    const life = await liveOnce(plan.first + lives, settled, trace);
    lives++;
    const violations = [...life.violations, ...strays];
    if (violations.length > 0) failed = { ...life, violations };
    for (const [what, number] of Object.entries(life.counts)) counts[what] = (counts[what] ?? 0) + number;
    if (elapsedMs() - toldAt < TOLD_EVERY_MS) continue;
    toldAt = elapsedMs();
    console.log(`${lives} lives`);
  }
  return { lives, seconds: elapsedMs() / 1000, counts, failed };
}

await main(process.argv.slice(2));
