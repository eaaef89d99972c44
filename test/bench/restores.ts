import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { formatSize } from '../../src/base/units.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { type Run, rcloneRemote, timed } from './clients.ts';
import { writeFiles } from './data.ts';
import { SET, setUp } from './daemon.ts';
import { type Sink, startSink } from './sink.ts';
import { median, type UploadOptions } from './uploads.ts';

/** The same files brought back by several programs in turn, into an empty folder; medians. */
export interface RestoreComparison {
  readonly name: string;
  readonly bytes: number;
  readonly files: number;
  readonly latencyMs: number;
  readonly results: readonly RestoreOf[];
}

export interface RestoreOf {
  readonly client: string;
  readonly ms: number;
  readonly cpuSecondsPerGiB: number;
  readonly rssPeakBytes: number;
  /** Of the server's CPU time, which is on the same cores. */
  readonly sinkCpuSecondsPerGiB: number;
  readonly requests: number;
  /** Of evictd's time to this one's, by pairs of runs next to each other. */
  readonly ratio: number;
  readonly runs: readonly Run[];
}

interface Restorer {
  readonly name: string;
  restore(this: void, target: string): Promise<Run>;
  /** Over what the one before it has restored. */
  readonly isUnchanged?: true;
}

const SMALL_BYTES = 64 * 1024;
const SMALL_FILES = 1000;
const TINY_BYTES = 4096;
const TINY_FILES = 20_000;
const LATENCY_MS = 20;

/** One large file, and many small ones without and with latency. */
export async function* compareRestores(
  { bytes, rounds }: UploadOptions,
  only: (name: string) => boolean,
): AsyncGenerator<RestoreComparison> {
  const scaled = (files: number) => Math.max(50, Math.round((files * bytes) / 1024 ** 3));
  const cases = [
    { name: 'restore-file', files: 1, size: bytes, latencyMs: 0 },
    { name: 'restore-large-file', files: 1, size: 8 * bytes, latencyMs: 0 },
    ...[0, LATENCY_MS].map((latencyMs) => ({
      name: latencyMs === 0 ? 'restore-small-files' : 'restore-small-files-latency',
      files: scaled(SMALL_FILES),
      size: SMALL_BYTES,
      latencyMs,
    })),
    { name: 'restore-tiny-files', files: scaled(TINY_FILES), size: TINY_BYTES, latencyMs: 0 },
  ].filter(({ name }) => only(name));
  if (cases.length === 0) return;
  const { missing } = ensureDebianPackages(['rclone', 'time']);
  if (missing.length > 0) throw new Error(`there is nothing to compare with: install ${missing.join(', ')}`);
  for (const { name, files, size, latencyMs } of cases) {
    const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
    try {
      // Rclone verifies nothing here, so that it can be given anything of the right length.
      await using sink = await startSink(folder, { keep: '/packs/' });
      const source = join(folder, 'data');
      await writeFiles(source, files, size);
      const restorers = await fillSink(sink, folder, source);
      await rm(source, { recursive: true });
      await sink.latency(latencyMs);
      const results = await inTurn(restorers, { rounds, sink, folder, bytes: files * size });
      yield { name, bytes: files * size, files, latencyMs, results };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

/** Stores the data as a checkpoint, and as rclone does it. */
async function fillSink(sink: Sink, folder: string, source: string): Promise<Restorer[]> {
  const { caFile } = sink;
  await using imds = await startTestImds();
  const { program, config, env } = await setUp({ sink, folder, imdsUrl: imds.url, key: 'saved', source });
  const evictd = (...args: readonly string[]) => timed(program, [...args, '--config', config], env, folder);
  await evictd('checkpoint');
  const remote = rcloneRemote(sink);
  const rclone = (from: string, to: string, ...flags: readonly string[]) =>
    timed(
      'rclone',
      ['copy', from, to, '--ca-cert', caFile, ...flags],
      { RCLONE_CONFIG: '/dev/null' },
      undefined,
    );
  const tuned = ['--transfers', '64', '--checkers', '64', '--ignore-checksum'];
  await rclone(source, `${remote}/by-rclone`, ...tuned);
  const restore = (to: string) => evictd('restore', '--set', SET, '--to', to);
  const unverified = ['--ignore-checksum'];
  return [
    { name: 'evictd', restore },
    { name: 'evictd, unchanged target', restore, isUnchanged: true },
    { name: 'rclone, unverified', restore: (to) => rclone(`${remote}/by-rclone`, to, ...unverified) },
    { name: 'rclone, unverified, tuned', restore: (to) => rclone(`${remote}/by-rclone`, to, ...tuned) },
  ];
}

interface Turns {
  readonly rounds: number;
  readonly sink: Sink;
  readonly folder: string;
  readonly bytes: number;
}

async function inTurn(
  restorers: readonly Restorer[],
  { rounds, sink, folder, bytes }: Turns,
): Promise<RestoreOf[]> {
  const all = restorers.map(({ name }) => ({
    client: name,
    runs: [] as Run[],
    sinkCpuMs: [] as number[],
    requests: [] as number[],
  }));
  const target = join(folder, 'target');
  for (let round = 0; round < rounds; round++) {
    for (const [at, { restore, isUnchanged }] of restorers.entries()) {
      if (isUnchanged !== true) await rm(target, { recursive: true, force: true });
      const before = await sink.stats();
      all[at]?.runs.push(await restore(target));
      const after = await sink.stats();
      all[at]?.sinkCpuMs.push(after.cpuMs - before.cpuMs);
      all[at]?.requests.push(after.requests - before.requests);
    }
  }
  await rm(target, { recursive: true, force: true });
  const perGiB = (ms: number) => (ms / 1000 / bytes) * 1024 ** 3;
  const own = all[0]?.runs ?? [];
  return all.map(({ client, runs, sinkCpuMs, requests }) => ({
    client,
    ms: median(runs.map(({ ms }) => ms)),
    cpuSecondsPerGiB: perGiB(median(runs.map(({ cpuMs }) => cpuMs))),
    sinkCpuSecondsPerGiB: perGiB(median(sinkCpuMs)),
    requests: median(requests),
    rssPeakBytes: Math.max(...runs.map(({ rssPeakBytes }) => rssPeakBytes)),
    ratio: median(runs.map(({ ms }, round) => (own[round]?.ms ?? Number.NaN) / ms)),
    runs,
  }));
}

const HEADER = ['', 's', 'evictd takes', 'CPU s/GiB', "server's", 'requests', 'peak RSS'];

/** A title, a header and rows. */
export function restoreTable({ name, files, bytes, latencyMs, results }: RestoreComparison) {
  const rounds = results[0]?.runs.length ?? 0;
  return {
    title: `${name}: ${files} × ${formatSize(bytes / files)}, HTTPS, ${latencyMs} ms latency, median of ${rounds}`,
    header: HEADER,
    rows: results.map(
      ({ client, ms, ratio, cpuSecondsPerGiB, sinkCpuSecondsPerGiB, requests, rssPeakBytes }) => [
        client,
        (ms / 1000).toFixed(2),
        `${ratio.toFixed(2)} ×`,
        cpuSecondsPerGiB.toFixed(2),
        sinkCpuSecondsPerGiB.toFixed(2),
        String(requests),
        formatSize(rssPeakBytes),
      ],
    ),
  };
}
