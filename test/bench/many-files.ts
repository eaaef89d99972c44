import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { formatSize } from '../../src/base/units.ts';
import { type Engine, type EngineAnswer, startEngine } from './engine-process.ts';
import { startSink } from './sink.ts';

/** What the number of files costs, whatever is in them. */
export interface ManyFiles {
  readonly name: 'many-files';
  readonly files: number;
  /** Nothing stored before: two requests for each file. */
  readonly first: CommitOfMany;
  readonly unchanged: CommitOfMany;
  /** Every hundredth file is rewritten before it. */
  readonly changed: CommitOfMany;
  /** Peak of the engine's process, all three included. */
  readonly rssPeakBytes: number;
}

interface CommitOfMany {
  readonly ms: number;
  readonly cpuMs: number;
  /** The longest that a timer beside it came late. */
  readonly lateMsMax: number;
}

const COUNTS = [1000, 10_000, 200_000];
const FILES_PER_FOLDER = 1000;
const BYTES = 200;
/** A file that was written to less than a minute before it was read is read again at the next look. */
const QUIET_MS = 61_000;

/** Commits of small files, at the store that takes them fastest. */
export async function* measureManyFiles(counts: readonly number[] = COUNTS): AsyncGenerator<ManyFiles> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
  try {
    await using sink = await startSink(folder);
    for (const files of counts) {
      const source = join(folder, `data-${files}`);
      await writeSmallFiles(source, files, 1);
      await new Promise((resolve) => {
        setTimeout(resolve, QUIET_MS);
      });
      const { url, caFile, signatureFile } = sink;
      await using engine = await startEngine({
        url,
        caFile,
        signatureFile,
        key: String(files),
        folder: source,
      });
      const first = await commit(engine);
      const unchanged = await commit(engine);
      await writeSmallFiles(source, files, 100);
      const changed = await commit(engine);
      const { rssPeakBytes } = changed;
      yield {
        name: 'many-files',
        files,
        first: figures(first),
        unchanged: figures(unchanged),
        changed: figures(changed),
        rssPeakBytes,
      };
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The store and its client are warm, as in the daemon. */
async function commit(engine: Engine): Promise<EngineAnswer> {
  await engine.run({ kind: 'warm' });
  return engine.run({ kind: 'commit' });
}

function figures({ ms, cpuMs, lateMs }: EngineAnswer): CommitOfMany {
  return { ms, cpuMs, lateMsMax: Math.max(...lateMs) };
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

export const MANY_FILES_HEADER = [
  'files',
  'first commit in s',
  'late by ms',
  'unchanged',
  'late',
  '1 % changed',
  'late',
  'peak memory',
];

export function manyFilesRow({ files, first, unchanged, changed, rssPeakBytes }: ManyFiles): string[] {
  const cells = [first, unchanged, changed].flatMap(({ ms, lateMsMax }) => [
    (ms / 1000).toFixed(2),
    lateMsMax.toFixed(0),
  ]);
  return [String(files), ...cells, formatSize(rssPeakBytes)];
}
