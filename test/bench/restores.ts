import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';

import { formatSize } from '../../src/base/units.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { writeLauncher } from '../support/packaged-evictd.ts';
import { type Run, timed } from './clients.ts';
import { writeFiles } from './data.ts';
import { startEngine } from './engine-process.ts';
import { SIGNATURE, type Sink, startSink } from './sink.ts';
import { median, type UploadOptions } from './uploads.ts';

/** The same blobs brought back by several programs in turn, into an empty folder; medians. */
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
const LATENCY_MS = 20;
const SET = 'job';
const MEMORY_SHARE = 0.8;

/** One large file, and many small ones without and with latency. */
export async function* compareRestores(
  { bytes, rounds }: UploadOptions,
  only: (name: string) => boolean,
): AsyncGenerator<RestoreComparison> {
  const cases = [
    { name: 'restore-file', files: 1, size: bytes, latencyMs: 0 },
    { name: 'restore-large-file', files: 1, size: 8 * bytes, latencyMs: 0 },
    ...[0, LATENCY_MS].map((latencyMs) => ({
      name: latencyMs === 0 ? 'restore-small-files' : 'restore-small-files-latency',
      files: Math.max(50, Math.round((SMALL_FILES * bytes) / 1024 ** 3)),
      size: SMALL_BYTES,
      latencyMs,
    })),
  ].filter(({ name }) => only(name));
  if (cases.length === 0) return;
  const { missing } = ensureDebianPackages(['rclone', 'time']);
  if (missing.length > 0) throw new Error(`there is nothing to compare with: install ${missing.join(', ')}`);
  for (const { name, files, size, latencyMs } of cases) {
    const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
    try {
      // One for each case: it keeps everything in memory.
      await using sink = await startSink(folder, { keep: true });
      const source = join(folder, 'data');
      await writeFiles(source, files, size);
      // The sink keeps what it gets in memory, where all of it and a target have to fit.
      const isTwice = 3 * files * size < totalmem() * MEMORY_SHARE;
      const restorers = await fillSink(sink, folder, source, isTwice);
      await rm(source, { recursive: true });
      await sink.latency(latencyMs);
      const results = await inTurn(restorers, { rounds, sink, folder, bytes: files * size });
      yield { name, bytes: files * size, files, latencyMs, results };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

/** Stores the data as a checkpoint and, with `isTwice`, as rclone does it, who then knows the MD5 of what it fetches. */
async function fillSink(sink: Sink, folder: string, source: string, isTwice: boolean): Promise<Restorer[]> {
  const { url, caFile, signatureFile } = sink;
  const key = 'saved';
  const state = join(folder, 'state');
  {
    const place = { url, caFile, signatureFile, key };
    await using engine = await startEngine({ ...place, folder: source, indexDirectory: state });
    await engine.run({ kind: 'stage' });
    await engine.run({ kind: 'commit' });
  }
  const [, base = '', container = ''] = /^(.*)\/([^/]+)$/.exec(url) ?? [];
  const remote = `:azureblob,sas_url='${base}/${container}?${SIGNATURE}':${container}`;
  const rclone = (from: string, to: string, ...flags: readonly string[]) =>
    timed(
      'rclone',
      ['copy', from, to, '--ca-cert', caFile, ...flags],
      { RCLONE_CONFIG: '/dev/null' },
      undefined,
    );
  if (isTwice) await rclone(source, `${remote}/by-rclone`);
  const checkpoint = {
    store: { url, auth: { kind: 'sas', file: signatureFile } },
    key,
    sets: [{ name: SET, path: source }],
  };
  const config = join(folder, 'evictd.json');
  await writeFile(config, JSON.stringify({ checkpoint, state: { dir: state } }), { mode: 0o600 });
  const program = join(folder, 'evictd');
  await writeLauncher(program);
  const args = ['restore', '--config', config, '--set', SET];
  const evictd = (...more: readonly string[]) =>
    timed(program, [...args, ...more], { NODE_EXTRA_CA_CERTS: caFile }, folder);
  const tuned = ['--transfers', '64', '--checkers', '64', '--ignore-checksum'];
  return [
    { name: 'evictd', restore: (to) => evictd('--to', to) },
    { name: 'evictd, unchanged target', restore: (to) => evictd('--to', to), isUnchanged: true },
    { name: 'rclone, unverified', restore: (to) => rclone(`${remote}/${key}/${SET}/files`, to) },
    {
      name: 'rclone, unverified, tuned',
      restore: (to) => rclone(`${remote}/${key}/${SET}/files`, to, ...tuned),
    },
    ...(isTwice
      ? [{ name: 'rclone, verified (MD5)', restore: (to: string) => rclone(`${remote}/by-rclone`, to) }]
      : []),
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
  const all = restorers.map(({ name }) => ({ client: name, runs: [] as Run[], sinkCpuMs: [] as number[] }));
  const target = join(folder, 'target');
  for (let round = 0; round < rounds; round++) {
    for (const [at, { restore, isUnchanged }] of restorers.entries()) {
      if (isUnchanged !== true) await rm(target, { recursive: true, force: true });
      const before = await sink.stats();
      all[at]?.runs.push(await restore(target));
      all[at]?.sinkCpuMs.push((await sink.stats()).cpuMs - before.cpuMs);
    }
  }
  await rm(target, { recursive: true, force: true });
  const perGiB = (ms: number) => (ms / 1000 / bytes) * 1024 ** 3;
  const own = all[0]?.runs ?? [];
  return all.map(({ client, runs, sinkCpuMs }) => ({
    client,
    ms: median(runs.map(({ ms }) => ms)),
    cpuSecondsPerGiB: perGiB(median(runs.map(({ cpuMs }) => cpuMs))),
    sinkCpuSecondsPerGiB: perGiB(median(sinkCpuMs)),
    rssPeakBytes: Math.max(...runs.map(({ rssPeakBytes }) => rssPeakBytes)),
    ratio: median(runs.map(({ ms }, round) => (own[round]?.ms ?? Number.NaN) / ms)),
    runs,
  }));
}

const HEADER = ['', 's', 'evictd takes', 'CPU s/GiB', "server's", 'peak RSS'];

/** A title, a header and rows. */
export function restoreTable({ name, files, bytes, latencyMs, results }: RestoreComparison) {
  const rounds = results[0]?.runs.length ?? 0;
  return {
    title: `${name}: ${files} × ${formatSize(bytes / files)}, HTTPS, ${latencyMs} ms latency, median of ${rounds}`,
    header: HEADER,
    rows: results.map(({ client, ms, ratio, cpuSecondsPerGiB, sinkCpuSecondsPerGiB, rssPeakBytes }) => [
      client,
      (ms / 1000).toFixed(2),
      `${ratio.toFixed(2)} ×`,
      cpuSecondsPerGiB.toFixed(2),
      sinkCpuSecondsPerGiB.toFixed(2),
      formatSize(rssPeakBytes),
    ]),
  };
}
