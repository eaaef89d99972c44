import { writeFile } from 'node:fs/promises';

import { table } from '../bench/statistics.ts';
import { setup as buildWhenStale } from '../support/global-setup.ts';
import { numberOf, scriptOptions } from '../tools/script-options.ts';
import { type Sample, liveLong } from './life.ts';
import { type Slope, slopesOf } from './slopes.ts';

const USAGE = `npm run endurance -- [--minutes N | --notices N] [--rate 20] [--json FILE] [--leak]
One long life of the real daemon in fast time, in which nothing may grow.`;
const NOTICES = 10_000;
const SAMPLES_MIN = 8;
const NOTICES_EACH_MAX = 100;

async function main(args: readonly string[]): Promise<void> {
  const values = scriptOptions(
    USAGE,
    {
      minutes: { type: 'string' },
      notices: { type: 'string' },
      rate: { type: 'string' },
      json: { type: 'string' },
      leak: { type: 'boolean', default: false },
    },
    args,
  );
  const rate = numberOf('rate', values.rate, 20);
  const minutes = numberOf('minutes', values.minutes, Infinity);
  const byDefault = values.minutes === undefined ? NOTICES : Infinity;
  const noticesMax = numberOf('notices', values.notices, byDefault);
  await buildWhenStale();
  const endsAt = performance.now() + minutes * 60_000;
  const samples: Sample[] = [];
  const life = await liveLong({
    rate,
    startedNs: process.hrtime.bigint(),
    leak: values.leak,
    noticesEach: Math.min(NOTICES_EACH_MAX, Math.ceil(noticesMax / SAMPLES_MIN)),
    goesOn: (notices) => notices < noticesMax && performance.now() < endsAt,
    onSample(sample) {
      samples.push(sample);
      console.log(JSON.stringify(sample));
    },
  });
  const slopes = slopesOf(samples);
  const minutesLived = (samples.at(-1)?.ms ?? 0) / 60_000;
  const { notices, drains, commits, troubles } = life;
  console.log(
    `\n${notices} notices, half of them withdrawn, ${drains} drains, ${commits} commits of them, in ` +
      `${minutesLived.toFixed(1)} min at ${rate} × the speed\n`,
  );
  console.log(table(HEADER, slopes.map(rowOf)));
  for (const [what, count] of troubles) console.log(`${count} × ${what}`);
  if (values.json !== undefined)
    await writeFile(
      values.json,
      `${JSON.stringify({ ...life, troubles: [...troubles], samples, slopes })}\n`,
    );
  const grown = slopes.filter(({ isFlat }) => !isFlat);
  for (const { quantity } of grown) console.error(`it grows: ${quantity}`);
  console.log(grown.length === 0 ? '\nnothing grows' : '');
  if (grown.length > 0) process.exitCode = 1;
}

const HEADER = ['second half', 'at the end', 'per hour', 'per 1,000 notices', 'grown', 'allowed', ''];

function rowOf({ quantity, last, perHour, perThousandNotices, growth, allowed, isFlat }: Slope): string[] {
  const numbers = [last, perHour, perThousandNotices, growth].map((value) => value.toFixed(1));
  const verdict = allowed === undefined ? 'too few notices' : isFlat ? 'flat' : 'GROWS';
  return [quantity, ...numbers, allowed?.toFixed(1) ?? '', verdict];
}

await main(process.argv.slice(2));
