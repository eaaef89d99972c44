import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { formatSize } from '../../src/base/units.ts';
import { type Client, type Clients, prepareClients, type Run } from './clients.ts';
import { writeFiles } from './data.ts';
import { type Sink, startSink } from './sink.ts';

export interface UploadOptions {
  /** The whole is scaled by it: the first benchmark's file. */
  readonly bytes: number;
  readonly rounds: number;
}

/** The same data sent by several programs in turn; medians. */
export interface UploadComparison {
  readonly name: string;
  readonly bytes: number;
  readonly files: number;
  readonly latencyMs: number;
  readonly results: readonly ClientResult[];
  readonly notes: readonly string[];
}

export interface ClientResult {
  readonly client: string;
  readonly ms: number;
  readonly cpuSecondsPerGiB: number;
  readonly rssPeakBytes: number;
  /** Of evictd's time to the program's, by pairs of runs next to each other. */
  readonly ratio: number;
  readonly runs: readonly Run[];
}

const SMALL_BYTES = 64 * 1024;
const SMALL_FILES = 1000;
const TINY_BYTES = 4096;
const TINY_FILES = 20_000;
const LATENCY_MS = 20;

/** One large file, eight times as large a one, and many small files without and with latency. */
export async function* compareUploads(
  { bytes, rounds }: UploadOptions,
  only: (name: string) => boolean,
): AsyncGenerator<UploadComparison> {
  await using work = await openWork();
  const { clients, sink } = work;
  const { evictd, evictdOnce, rclone, rcloneTuned, azcopy } = clients;
  const others = azcopy === undefined ? [] : [azcopy];
  const scaled = (files: number) => Math.max(50, Math.round((files * bytes) / 1024 ** 3));
  const cases = [
    {
      name: 'file',
      files: 1,
      size: bytes,
      latencyMs: 0,
      peers: [evictdOnce, rclone, rcloneTuned, ...others],
    },
    { name: 'large-file', files: 1, size: 8 * bytes, latencyMs: 0, peers: [rcloneTuned, ...others] },
    ...[0, LATENCY_MS].map((latencyMs) => ({
      name: latencyMs === 0 ? 'small-files' : 'small-files-latency',
      files: scaled(SMALL_FILES),
      size: SMALL_BYTES,
      latencyMs,
      peers: [evictdOnce, rcloneTuned],
    })),
    {
      name: 'tiny-files',
      files: scaled(TINY_FILES),
      size: TINY_BYTES,
      latencyMs: 0,
      peers: [evictdOnce, rcloneTuned],
    },
  ];
  for (const { name, files, size, latencyMs, peers } of cases) {
    if (!only(name)) continue;
    const source = join(work.folder, 'data');
    await writeFiles(source, files, size);
    await sink.latency(latencyMs);
    const runs = await inTurn([evictd, ...peers], { rounds, source, name, sink });
    await sink.latency(0);
    await work.removeData();
    const total = files * size;
    yield { name, bytes: total, files, latencyMs, results: resultsOf(runs, total), notes: clients.notes };
  }
}

export interface Work extends AsyncDisposable {
  readonly folder: string;
  readonly sink: Sink;
  readonly clients: Clients;
  /** Removes FOLDER/data. */
  removeData(this: void): Promise<void>;
}

export async function openWork(): Promise<Work> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const clientsFolder = join(folder, 'clients');
  await mkdir(clientsFolder);
  const sink = stack.use(await startSink(folder));
  const clients = stack.use(await prepareClients(sink, clientsFolder));
  const owned = stack.move();
  const removeData = () => rm(join(folder, 'data'), { recursive: true, force: true });
  return { folder, sink, clients, removeData, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Turns {
  readonly rounds: number;
  readonly source: string;
  readonly name: string;
  readonly sink: Sink;
}

/** One after the other, round by round, so that a slower quarter of an hour of the machine is nobody's fault. */
export async function inTurn(clients: readonly Client[], { rounds, source, name, sink }: Turns) {
  const runs = new Map(clients.map((client) => [client.name, [] as Run[]]));
  for (let round = 0; round < rounds; round++) {
    for (const client of clients) {
      const place = `${name}-${client.name.replaceAll(/\W+/g, '-')}-${round}`;
      runs.get(client.name)?.push(await client.upload(source, place));
      await sink.clear();
    }
  }
  return runs;
}

export function resultsOf(runs: ReadonlyMap<string, readonly Run[]>, bytes: number): ClientResult[] {
  const own = [...runs.values()][0] ?? [];
  return [...runs].map(([client, all]) => ({
    client,
    ms: median(all.map(({ ms }) => ms)),
    cpuSecondsPerGiB: (median(all.map(({ cpuMs }) => cpuMs)) / 1000 / bytes) * 1024 ** 3,
    rssPeakBytes: Math.max(...all.map(({ rssPeakBytes }) => rssPeakBytes)),
    ratio: median(all.map(({ ms }, round) => (own[round]?.ms ?? Number.NaN) / ms)),
    runs: all,
  }));
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export const UPLOAD_HEADER = ['', 's', 'evictd takes', 'CPU s/GiB', 'peak RSS'];

export function uploadRows({ results }: Pick<UploadComparison, 'results'>): string[][] {
  return results.map(({ client, ms, ratio, cpuSecondsPerGiB, rssPeakBytes }) => [
    client,
    (ms / 1000).toFixed(2),
    `${ratio.toFixed(2)} ×`,
    cpuSecondsPerGiB.toFixed(2),
    formatSize(rssPeakBytes),
  ]);
}
