import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { formatSize } from '../../src/base/units.ts';
import { append, changePlaces, writeFiles } from './data.ts';
import { type Engine, type EngineAnswer, startEngine } from './engine-process.ts';
import { type Sink, startSink } from './sink.ts';
import { median, type UploadOptions } from './uploads.ts';

/** What is left to do at the notice, against staging everything. */
export interface DeltaResult {
  readonly name: string;
  /** Staging all of it, nothing stored before. */
  readonly fullMs: number;
  /** The first commit, of what was staged and didn't change: nothing is left but the commits of its files. */
  readonly firstCommitMs: number;
  readonly commitMs: number;
  readonly share: number;
  readonly bytesSent: number;
  /** At least so much had to be sent. */
  readonly bytesChanged: number;
  readonly bytesRead: number;
  /** While everything was staged: how late a timer came. */
  readonly lateMsP99: number;
  readonly lateMsMax: number;
}

const BLOCK_BYTES = 4 * 1024 ** 2;
const FILES = 800;
const PLACES = 100;
/** A file that was written to less than a minute before it was read is read again at the next look. */
const QUIET_MS = 61_000;

/** Changes in a set that is staged already: some of many files, places in one file, an end that grows. */
export async function* measureDeltas(
  { bytes, rounds }: UploadOptions,
  only: (name: string) => boolean,
): AsyncGenerator<DeltaResult> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
  try {
    await using sink = await startSink(folder);
    const total = 8 * bytes;
    const source = join(folder, 'data');
    if (only('changed-files')) {
      const size = Math.round(total / FILES);
      await writeFiles(source, FILES, size);
      yield await measure(
        { name: 'changed-files', sink, source, rounds, bytesChanged: (FILES / 100) * size },
        (round) =>
          // Each round other files, one in a hundred of all.
          changeFiles(source, size, round),
      );
      await rm(source, { recursive: true });
    }
    const file = join(source, 'file-0');
    if (!only('changed-places') && !only('appended')) return;
    await writeFiles(source, 1, total);
    if (only('changed-places')) {
      const bytesChanged = Math.min(PLACES * BLOCK_BYTES, total);
      yield await measure({ name: 'changed-places', sink, source, rounds, bytesChanged }, () =>
        changePlaces(file, total, PLACES),
      );
    }
    if (only('appended')) {
      const more = bytes / 16;
      yield await measure({ name: 'appended', sink, source, rounds, bytesChanged: more }, () =>
        append(file, more),
      );
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Measured {
  readonly name: string;
  readonly sink: Sink;
  readonly source: string;
  readonly rounds: number;
  readonly bytesChanged: number;
}

/** Stages and commits all, then changes and commits again and again; the store and its client are warm, as in the daemon. */
async function measure(
  { name, sink, source, rounds, bytesChanged }: Measured,
  change: (round: number) => Promise<void>,
): Promise<DeltaResult> {
  await new Promise((resolve) => {
    setTimeout(resolve, QUIET_MS);
  });
  const { url, caFile, signatureFile } = sink;
  await using engine = await startEngine({ url, caFile, signatureFile, key: name, folder: source });
  const full = await engine.run({ kind: 'stage' });
  const first = await commitWarm(engine);
  const commits: EngineAnswer[] = [];
  for (let round = 0; round < rounds; round++) {
    await change(round);
    commits.push(await commitWarm(engine));
  }
  const late = [...full.lateMs].sort((one, other) => one - other);
  const commitMs = median(commits.map(({ ms }) => ms));
  return {
    name,
    fullMs: full.ms,
    firstCommitMs: first.ms,
    commitMs,
    share: commitMs / full.ms,
    bytesSent: median(commits.map(({ bytesSent }) => bytesSent)),
    bytesChanged,
    bytesRead: median(commits.map(({ bytesRead }) => bytesRead)),
    lateMsP99: late[Math.floor(late.length * 0.99)] ?? Number.NaN,
    lateMsMax: late.at(-1) ?? Number.NaN,
  };
}

async function commitWarm(engine: Engine): Promise<EngineAnswer> {
  await engine.run({ kind: 'warm' });
  return engine.run({ kind: 'commit' });
}

async function changeFiles(source: string, size: number, round: number): Promise<void> {
  for (let number = round; number < FILES; number += 100) {
    await changePlaces(join(source, `file-${number}`), size, Math.ceil(size / BLOCK_BYTES));
  }
}

export const DELTA_HEADER = [
  '',
  'staged in s',
  'committed in s',
  'after a change',
  'share',
  'sent',
  'changed',
  'read',
  'timer late, p99',
  'max',
];

export function deltaRow(result: DeltaResult): string[] {
  const { name, fullMs, firstCommitMs, commitMs, share, bytesSent, bytesChanged, bytesRead } = result;
  return [
    name,
    ...[fullMs, firstCommitMs, commitMs].map((ms) => (ms / 1000).toFixed(2)),
    `${(share * 100).toFixed(1)} %`,
    ...[bytesSent, bytesChanged, bytesRead].map(formatSize),
    ...[result.lateMsP99, result.lateMsMax].map((ms) => `${ms.toFixed(0)} ms`),
  ];
}
