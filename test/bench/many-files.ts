import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { formatSize } from '../../src/base/units.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { type CheckpointRun, startDaemon, TRUST_MS } from './daemon.ts';
import { type ClientResult, inTurn, median, openWork, resultsOf, type UploadOptions } from './uploads.ts';

/** What the number of files costs, in a tree of many folders. */
export interface ManyFiles {
  readonly name: 'many-files';
  readonly files: number;
  readonly folders: number;
  /** The first checkpoint, beside what others take. */
  readonly first: readonly ClientResult[];
  readonly unchanged: CommitOfMany;
  /** Ten files are rewritten before it. */
  readonly changed: CommitOfMany;
  /** Peak of the daemon, all included. */
  readonly rssPeakBytes: number;
}

interface CommitOfMany {
  readonly ms: number;
  readonly cpuMs: number;
  readonly bytesIn: number;
  readonly requests: number;
  /** The longest that a timer beside it came late. */
  readonly lateMsMax: number;
}

const FILES = 100_000;
const FILES_PER_FOLDER = 100;
const BYTES = 4096;
const CHANGED = 10;

/** A first checkpoint of many small files, then ones of little that changed. */
export async function measureManyFiles({ bytes, rounds }: UploadOptions): Promise<ManyFiles> {
  const files = Math.max(1000, Math.round((FILES * bytes) / 1024 ** 3));
  await using work = await openWork();
  const { folder, sink, clients, removeData } = work;
  const source = join(folder, 'data');
  await writeSmallFiles(source, files, 1);
  const turns = { rounds, source, name: 'many-files', sink };
  const first = resultsOf(await inTurn([clients.evictd, clients.rcloneTuned], turns), files * BYTES);
  await using imds = await startTestImds();
  const options = { sink, folder, imdsUrl: imds.url, key: 'many-files', source };
  await using daemon = await startDaemon(options, TRUST_MS);
  const all = [await daemon.checkpoint()];
  const commit = async (change: boolean) => {
    if (change) await writeSmallFiles(source, files, Math.floor(files / CHANGED));
    await daemon.lateMs();
    const run = await daemon.checkpoint();
    all.push(run);
    return { ...run, lateMs: await daemon.lateMs() };
  };
  // The first one after it finds the times of all files trusted.
  await commit(false);
  const unchanged: Timed[] = [];
  const changed: Timed[] = [];
  for (let round = 0; round < rounds; round++) {
    unchanged.push(await commit(false));
    changed.push(await commit(true));
  }
  await removeData();
  return {
    name: 'many-files',
    files,
    folders: files / FILES_PER_FOLDER,
    first,
    unchanged: figures(unchanged),
    changed: figures(changed),
    rssPeakBytes: Math.max(...all.map(({ rssPeakBytes }) => rssPeakBytes)),
  };
}

type Timed = CheckpointRun & { readonly lateMs: number };

function figures(runs: readonly Timed[]): CommitOfMany {
  return {
    ms: median(runs.map(({ ms }) => ms)),
    cpuMs: median(runs.map(({ cpuMs }) => cpuMs)),
    bytesIn: median(runs.map(({ bytesIn }) => bytesIn)),
    requests: median(runs.map(({ requests }) => requests)),
    lateMsMax: Math.max(...runs.map(({ lateMs }) => lateMs)),
  };
}

/** (Re)writes one of every `step` files. */
async function writeSmallFiles(source: string, count: number, step: number): Promise<void> {
  for (let number = 0; number < count; number += step) {
    const folder = join(source, `folder-${Math.floor(number / FILES_PER_FOLDER)}`);
    if (number % FILES_PER_FOLDER === 0) await mkdir(folder, { recursive: true });
    const content = `${number} at ${performance.now()}`.padEnd(BYTES, '.');
    await writeFile(join(folder, `file-${number}.json`), content);
  }
}

export const MANY_FILES_HEADER = ['', 's', 'CPU s', 'sent', 'requests', 'timer late by ms, max'];

export function manyFilesRows({ unchanged, changed }: ManyFiles): string[][] {
  return Object.entries({ unchanged, [`${CHANGED} changed`]: changed }).map(([name, one]) => [
    name,
    (one.ms / 1000).toFixed(2),
    (one.cpuMs / 1000).toFixed(2),
    formatSize(one.bytesIn),
    String(one.requests),
    one.lateMsMax.toFixed(0),
  ]);
}
