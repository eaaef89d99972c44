import { join } from 'node:path';

import { formatSize } from '../../src/base/units.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { append, changePlaces, writeFiles } from './data.ts';
import { type CheckpointRun, startDaemon, TRUST_MS } from './daemon.ts';
import { median, openWork, type UploadOptions, type Work } from './uploads.ts';

/** What is left to do when something has changed, against the first checkpoint. */
export interface DeltaResult {
  readonly name: string;
  /** The first one, nothing stored before. */
  readonly fullMs: number;
  readonly commitMs: number;
  readonly share: number;
  readonly cpuMs: number;
  readonly bytesSent: number;
  /** At least so much had to be sent. */
  readonly bytesChanged: number;
  readonly writes: number;
  readonly rssPeakBytes: number;
}

const CHUNK_BYTES = 1024 ** 2;
const FILES = 800;
const PLACES = 100;
const SMALL_FILES = 2000;
const SMALL_CHANGED = 1000;
const SMALL_BYTES = 16 * 1024;
/** After so long nobody can be inside of a write to a large file any more; before, it would be read a second time. */
const WRITTEN_MS = 10_500;

/** Changes in a set of which there is a checkpoint: some of many files, places in one file, an end that grows. */
export async function* measureDeltas(
  { bytes, rounds }: UploadOptions,
  only: (name: string) => boolean,
): AsyncGenerator<DeltaResult> {
  const total = 8 * bytes;
  const size = Math.round(total / FILES);
  const cases: readonly Case[] = [
    {
      name: 'changed-small',
      files: [SMALL_FILES, SMALL_BYTES],
      bytesChanged: SMALL_CHANGED * SMALL_BYTES,
      change: (source) => writeFiles(source, SMALL_CHANGED, SMALL_BYTES),
    },
    {
      name: 'changed-files',
      files: [FILES, size],
      bytesChanged: (FILES / 100) * size,
      change: (source, round) => changeFiles(source, size, round),
    },
    {
      name: 'changed-places',
      files: [1, total],
      bytesChanged: Math.min(PLACES * CHUNK_BYTES, total),
      change: (source) => changePlaces(join(source, 'file-0'), total, PLACES),
    },
    {
      name: 'appended',
      files: [1, total],
      bytesChanged: bytes / 16,
      change: (source) => append(join(source, 'file-0'), bytes / 16),
    },
  ];
  const chosen = cases.filter(({ name }) => only(name));
  if (chosen.length === 0) return;
  await using work = await openWork();
  for (const one of chosen) yield await measure(one, work, rounds);
}

interface Case {
  readonly name: string;
  /** How many, and of what size. */
  readonly files: readonly [number, number];
  readonly bytesChanged: number;
  readonly change: (source: string, round: number) => Promise<void>;
}

/** Commits all, then changes and commits again and again. */
async function measure(
  { name, files, bytesChanged, change }: Case,
  { folder, sink, removeData }: Work,
  rounds: number,
): Promise<DeltaResult> {
  const source = join(folder, 'data');
  await writeFiles(source, ...files);
  await using imds = await startTestImds();
  const runs: CheckpointRun[] = [];
  const options = { sink, folder, imdsUrl: imds.url, key: name, source };
  await using daemon = await startDaemon(options, TRUST_MS);
  const full = await daemon.checkpoint();
  for (let round = 1; round <= rounds; round++) {
    await change(source, round);
    await new Promise((resolve) => {
      setTimeout(resolve, WRITTEN_MS);
    });
    runs.push(await daemon.checkpoint());
  }
  await removeData();
  const commitMs = median(runs.map(({ ms }) => ms));
  return {
    name,
    fullMs: full.ms,
    commitMs,
    share: commitMs / full.ms,
    cpuMs: median(runs.map(({ cpuMs }) => cpuMs)),
    bytesSent: median(runs.map(({ bytesIn }) => bytesIn)),
    bytesChanged,
    writes: median(runs.map(({ writes }) => writes)),
    rssPeakBytes: Math.max(...runs.map(({ rssPeakBytes }) => rssPeakBytes)),
  };
}

/** One in a hundred of all, each round other ones. */
async function changeFiles(source: string, size: number, round: number): Promise<void> {
  for (let number = round; number < FILES; number += 100)
    await changePlaces(join(source, `file-${number}`), size, Math.ceil(size / CHUNK_BYTES));
}

export const DELTA_HEADER = [
  '',
  'first in s',
  'after a change',
  'share',
  'CPU s',
  'sent',
  'changed',
  'writes',
  'peak RSS',
];

export function deltaRow(result: DeltaResult): string[] {
  const { name, fullMs, commitMs, share, cpuMs, bytesSent, bytesChanged, writes, rssPeakBytes } = result;
  return [
    name,
    (fullMs / 1000).toFixed(2),
    (commitMs / 1000).toFixed(2),
    `${(share * 100).toFixed(1)} %`,
    (cpuMs / 1000).toFixed(2),
    ...[bytesSent, bytesChanged].map(formatSize),
    String(writes),
    formatSize(rssPeakBytes),
  ];
}
