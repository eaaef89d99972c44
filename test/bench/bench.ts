import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';

import { formatSize, parseSize } from '../../src/base/units.ts';
import { setup as buildWhenStale } from '../support/global-setup.ts';
import { numberOf, scriptOptions } from '../tools/script-options.ts';
import {
  COMPRESSION_HEADER,
  type CompressionResult,
  compressionRow,
  measureCompression,
} from './compression.ts';
import { DELTA_HEADER, deltaRow, measureDeltas } from './deltas.ts';
import { LAST_HOOK_HEADER, type LastHook, lastHookRows, measureLastHook } from './last-hook.ts';
import { MANY_FILES_HEADER, type ManyFiles, manyFilesRows, measureManyFiles } from './many-files.ts';
import { type NoticeToHook, measureNoticeToHook } from './notice-to-hook.ts';
import { measureOverload, OVERLOAD_HEADER, overloadRow, type OverloadResult } from './overload.ts';
import { compareRestores, restoreTable } from './restores.ts';
import {
  FIRST_POLL_HEADER,
  firstPollRows,
  IDLE_HEADER,
  idleRows,
  measureStart,
  packageRows,
  type StartBench,
} from './start.ts';
import { measurePollJitter, POLLS_HEADER, pollRows } from './polls.ts';
import { type Summary, table } from './statistics.ts';
import { measureThrottled, THROTTLED_HEADER, type ThrottledResult, throttledRow } from './throttled.ts';
import {
  compareUploads,
  UPLOAD_HEADER,
  type UploadComparison,
  type UploadOptions,
  uploadRows,
} from './uploads.ts';

const USAGE = `npm run bench -- [--only NAME,…] [--json FILE] [--notices N] [--size 1GiB] [--rounds 5]
Measures what a user waits for, and prints it.`;
const NOTICES = 100;
const START_ROUNDS = 10;

async function main(args: readonly string[]): Promise<void> {
  const values = scriptOptions(
    USAGE,
    {
      only: { type: 'string' },
      json: { type: 'string' },
      notices: { type: 'string' },
      size: { type: 'string', default: '1GiB' },
      rounds: { type: 'string' },
    },
    args,
  );
  const notices = numberOf('notices', values.notices, NOTICES);
  const upload = { bytes: parseSize(values.size), rounds: numberOf('rounds', values.rounds, 5) };
  const chosen = values.only?.split(',');
  const names = new Set<string>();
  const only = (name: string) => {
    names.add(name);
    return chosen === undefined || chosen.includes(name);
  };
  await buildWhenStale();
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };
  console.log(`${machine.cores} × ${machine.cpu}, Node ${machine.node}`);
  const results: unknown[] = [];
  if (only('notice-to-hook')) results.push(...(await benchNotices(notices)));
  if (only('overload')) results.push(...(await benchOverload()));
  if (only('start')) results.push(await benchStart());
  for await (const comparison of compareUploads(upload, only)) {
    printUploads(comparison);
    results.push(comparison);
  }
  for await (const delta of measureDeltas(upload, only)) {
    console.log(`\n${table(DELTA_HEADER, [deltaRow(delta)])}`);
    results.push(delta);
  }
  if (only('poll-jitter')) {
    const jitter = await measurePollJitter(8 * upload.bytes);
    console.log(`\nPolls of the daemon, ${formatSize(jitter.bytes)} staged beside them\n`);
    console.log(table(POLLS_HEADER, pollRows(jitter)));
    results.push(jitter);
  }
  if (only('throttled')) results.push(...(await benchThrottled()));
  if (only('compression')) results.push(...(await benchCompression()));
  if (only('last-hook')) results.push(await benchLastHook());
  if (only('many-files')) results.push(await benchManyFiles(upload));
  for await (const comparison of compareRestores(upload, only)) {
    const { title, header, rows } = restoreTable(comparison);
    console.log(`\n${title}\n\n${table(header, rows)}`);
    results.push(comparison);
  }
  const unknown = chosen?.filter((name) => !names.has(name)) ?? [];
  if (unknown.length > 0) {
    console.error(`no benchmark ${unknown.join(', ')}; there are: ${[...names].join(', ')}`);
    process.exitCode = 2;
  }
  if (values.json === undefined) return;
  await writeFile(values.json, `${JSON.stringify({ version: 1, machine, benchmarks: results }, null, 2)}\n`);
}

async function benchOverload(): Promise<OverloadResult[]> {
  const results: OverloadResult[] = [];
  for await (const result of measureOverload()) results.push(result);
  if (results.length === 0) return [];
  console.log('\nNotice → first command of the hook, and the gaps between polls, under load; ms\n');
  console.log(table(OVERLOAD_HEADER, results.map(overloadRow)));
  return results;
}

async function benchStart(): Promise<StartBench> {
  const result = await measureStart(START_ROUNDS);
  console.log(
    `\nEverything configured, ${result.rounds} starts of each in turns; idle after all is staged\n`,
  );
  console.log(table(FIRST_POLL_HEADER, firstPollRows(result)));
  console.log(`\n${table(IDLE_HEADER, idleRows(result))}`);
  const packages = await packageRows();
  if (packages.length > 0) console.log(`\n${table(['package', 'MB'], packages)}`);
  return result;
}

async function benchLastHook(): Promise<LastHook> {
  const result = await measureLastHook();
  const { bytesChanged, latencyMs, notices } = result;
  console.log(
    `\nThe last hook's end → manifest stored, ${formatSize(bytesChanged)} changed, ${latencyMs} ms latency, ${notices} notices each; ms\n`,
  );
  console.log(table(LAST_HOOK_HEADER, lastHookRows(result)));
  return result;
}

async function benchManyFiles(options: UploadOptions): Promise<ManyFiles> {
  const result = await measureManyFiles(options);
  const { files, folders, first, rssPeakBytes } = result;
  console.log(`\nmany-files: ${files} × 4 KiB in ${folders} folders, HTTPS, median of ${options.rounds}\n`);
  console.log(table(UPLOAD_HEADER, uploadRows({ results: first })));
  console.log(`\n${table(MANY_FILES_HEADER, manyFilesRows(result))}`);
  console.log(`peak RSS of the daemon after all of that: ${formatSize(rssPeakBytes)}`);
  return result;
}

async function benchCompression(): Promise<CompressionResult[]> {
  const results: CompressionResult[] = [];
  for await (const result of measureCompression()) results.push(result);
  const size = formatSize(results[0]?.bytes ?? 0);
  console.log(
    `\nCompression, per thread; ${size} from the notice to the commit, as it is → compressed, by link\n`,
  );
  console.log(table(COMPRESSION_HEADER, results.map(compressionRow)));
  return results;
}

async function benchThrottled(): Promise<ThrottledResult[]> {
  const results: ThrottledResult[] = [];
  for await (const result of measureThrottled()) results.push(result);
  console.log(
    '\nA fleet evicted at once, packs of 8 MiB, on one storage account; simulated time since the notice\n',
  );
  console.log(table(THROTTLED_HEADER, results.map(throttledRow)));
  return results;
}

async function benchNotices(notices: number): Promise<NoticeToHook[]> {
  const results: NoticeToHook[] = [];
  // Uploading takes a second each, so there are fewer of those.
  for (const options of [
    { notices, withSet: false },
    { notices: Math.ceil(notices / 4), withSet: true },
  ]) {
    const result = await measureNoticeToHook(options);
    printNoticeToHook(result);
    results.push(result);
  }
  return results;
}

function printUploads(comparison: UploadComparison): void {
  const { name, files, bytes, latencyMs, notes, results } = comparison;
  const rounds = results[0]?.runs.length ?? 0;
  console.log(
    `\n${name}: ${files} × ${formatSize(bytes / files)}, HTTPS, ${latencyMs} ms latency, median of ${rounds}\n`,
  );
  console.log(table(UPLOAD_HEADER, uploadRows(comparison)));
  for (const note of notes) console.log(note);
}

function printNoticeToHook({ notices, withSet, steps, bare, targetMs, met }: NoticeToHook): void {
  const beside = withSet ? 'a changed checkpoint set beside it' : 'hooks only';
  console.log(`\nNotice → hook, ${notices} notices in one process, ${beside}; ms\n`);
  console.log(table(HEADER, rowsOf(steps)));
  console.log(`\nThe same program started by a process that does nothing else\n`);
  console.log(table(HEADER, rowsOf(bare)));
  const inside = steps['answer → spawned'];
  const own = bare['spawn()'];
  if (inside === undefined || own === undefined) throw new Error('nothing was measured');
  const ratio = (inside.median / own.median).toFixed(1);
  console.log(`\nanswer → spawned: ${ratio} × a bare spawn() (medians)`);
  console.log(`target: p99 under ${targetMs} ms: ${met ? 'met' : 'MISSED'} with ${inside.p99.toFixed(1)} ms`);
}

const HEADER = ['', 'first', 'median', 'p99', 'max'];

function rowsOf(summaries: Readonly<Record<string, Summary>>): string[][] {
  return Object.entries(summaries).map(([name, { first, median, p99, max }]) => [
    name,
    ...[first, median, p99, max].map((ms) => ms.toFixed(2)),
  ]);
}

await main(process.argv.slice(2));
