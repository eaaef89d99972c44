import { fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

import { numberOf, scriptOptions } from '../tools/script-options.ts';
import { live, type LivesPlan, type LivesResult } from './lives.ts';
import { MUTATIONS, isMutationName } from './mutations.ts';

const USAGE = `npm run soak -- [--minutes N | --lives N] [--seed S] [--jobs N] [--json FILE] [--trace] [--mutation NAME]
Plays whole lives of the daemon in a simulated world, each from its seed, and checks what must never happen.`;
const MINUTES = 10;
const JOB = fileURLToPath(new URL('job.ts', import.meta.url));

async function main(args: readonly string[]): Promise<void> {
  const values = scriptOptions(
    USAGE,
    {
      minutes: { type: 'string' },
      lives: { type: 'string' },
      seed: { type: 'string' },
      jobs: { type: 'string' },
      json: { type: 'string' },
      trace: { type: 'boolean', default: false },
      mutation: { type: 'string' },
    },
    args,
  );
  const { mutation } = values;
  if (mutation !== undefined && !isMutationName(mutation))
    throw new Error(`no mutation ${mutation}; there are: ${Object.keys(MUTATIONS).join(', ')}`);
  const first = numberOf('seed', values.seed, randomInt(1_000_000_000));
  const livesByDefault = values.minutes === undefined && values.trace ? 1 : Infinity;
  const lives = numberOf('lives', values.lives, livesByDefault);
  const minutesByDefault = values.lives === undefined ? MINUTES : Infinity;
  const minutes = numberOf('minutes', values.minutes, minutesByDefault);
  const jobs = values.trace ? 1 : Math.min(numberOf('jobs', values.jobs, availableParallelism()), lives);
  console.log(`seeds from ${first} on, ${jobs} at a time`);
  const startedAt = performance.now();
  const plan = { first, step: 1, lives, minutes, isTraced: values.trace, mutation };
  const result = await (jobs > 1 ? liveInJobs(plan, jobs) : live(plan));
  const seconds = (performance.now() - startedAt) / 1000;
  const { lives: count, counts, failed } = result;
  console.log(`${count} lives in ${seconds.toFixed(1)} s, ${Math.round((60 * count) / seconds)} a minute:`);
  console.log(
    Object.entries(counts)
      .map(([what, number]) => `${number} ${what}`)
      .join(', '),
  );
  if (values.json !== undefined)
    await writeFile(values.json, `${JSON.stringify({ first, seconds, ...result }, null, 2)}\n`);
  if (failed === undefined) return console.log('no violation');
  for (const violation of failed.violations) console.error(`seed ${failed.seed}: ${violation}`);
  const mutated = mutation === undefined ? '' : ` --mutation '${mutation}'`;
  console.error(`to see it again: npm run soak -- --seed ${failed.seed} --lives 1 --trace${mutated}`);
  process.exitCode = 1;
}

/** The same seeds, each in one of the processes; the first that finds something ends all. */
async function liveInJobs(plan: LivesPlan, jobs: number): Promise<LivesResult> {
  const results: LivesResult[] = [];
  const children = Array.from({ length: jobs }, (_, job) => {
    const lives = Math.ceil((plan.lives - job) / jobs);
    return fork(JOB, [JSON.stringify({ ...plan, first: plan.first + job, step: jobs, lives })]);
  });
  const isFound = () => results.some(({ failed }) => failed !== undefined);
  const ends = children.map(async (child) => {
    // It is what `live` answers, of this same folder.
    child.on('message', (result) => {
      results.push(result as LivesResult);
      if (isFound()) for (const other of children) other.kill();
    });
    const [code] = (await once(child, 'exit')) as [number | null]; // As Node documents it.
    if (code !== 0 && !isFound()) throw new Error(`one of the processes ended with ${code}`);
  });
  await Promise.all(ends);
  const counts: Record<string, number> = {};
  for (const [what, number] of results.flatMap((result) => Object.entries(result.counts)))
    counts[what] = (counts[what] ?? 0) + number;
  const lives = results.reduce((sum, result) => sum + result.lives, 0);
  return { lives, counts, failed: results.find(({ failed }) => failed !== undefined)?.failed };
}

await main(process.argv.slice(2));
