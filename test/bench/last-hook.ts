import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { startTestImds } from '../support/mock-imds.ts';
import { writeFiles } from './data.ts';
import { SETTLE_MS, startDaemon } from './daemon.ts';
import { type Summary, summarize } from './statistics.ts';
import { openWork } from './uploads.ts';

/** From the last command of the last hook, which has just written, to the checkpoint with that in the store. */
export interface LastHook {
  readonly name: 'last-hook';
  readonly latencyMs: number;
  readonly bytesChanged: number;
  readonly notices: number;
  /** ms, by what the hook changes. */
  readonly stored: Readonly<Record<string, Summary>>;
}

const LATENCY_MS = 20;
const MIB = 1024 ** 2;
const BYTES_CHANGED = 10 * MIB;
const NOTICES = 5;
const STORED_MS_MAX = 30_000;
const LOOK_MS = 50;

/** What the hook writes, over files of the same size that are in the checkpoint before. */
const SHAPES: Readonly<Record<string, readonly [files: number, bytes: number]>> = {
  'one file of 10 MiB': [1, BYTES_CHANGED],
  '160 files of 64 KiB': [160, 64 * 1024],
};

export async function measureLastHook(): Promise<LastHook> {
  const stored: Record<string, Summary> = {};
  for (const [shape, [files, bytes]] of Object.entries(SHAPES)) {
    const all: number[] = [];
    // Each notice finds a VM that has run for a while.
    for (let notice = 0; notice < NOTICES; notice++) all.push(await storedMs(files, bytes));
    stored[shape] = summarize(all);
  }
  return { name: 'last-hook', latencyMs: LATENCY_MS, bytesChanged: BYTES_CHANGED, notices: NOTICES, stored };
}

async function storedMs(files: number, bytes: number): Promise<number> {
  await using work = await openWork();
  const { folder, sink } = work;
  const source = join(folder, 'data');
  await writeFiles(source, 1, 64 * MIB);
  const changing = join(source, 'changing');
  await writeFiles(changing, files, bytes);
  const hook = join(folder, 'hook');
  const write = `for file in ${changing}/*; do head -c ${bytes} /dev/urandom > $file; done`;
  // bash has the time in a variable, so that its last command needs no further process.
  await writeFile(hook, `#!/bin/bash\n${write}\necho "$EPOCHREALTIME" > ${folder}/stamp\n`);
  await chmod(hook, 0o755);
  await using imds = await startTestImds();
  const config = { hooks: [{ name: 'save', run: [hook] }] };
  const options = { sink, folder, imdsUrl: imds.url, key: 'last-hook', source, config };
  await sink.latency(LATENCY_MS);
  await using daemon = await startDaemon(options, SETTLE_MS);
  await daemon.checkpoint();
  await new Promise((resolve) => {
    setTimeout(resolve, SETTLE_MS);
  });
  const before = (await sink.stats()).manifestMs;
  imds.addEvent({ notBefore: '30s' });
  const endsAt = performance.now() + STORED_MS_MAX;
  for (;;) {
    const { manifestMs } = await sink.stats();
    if (manifestMs > before) return manifestMs - Number(await readFile(join(folder, 'stamp'), 'utf8')) * 1000;
    if (performance.now() > endsAt) throw new Error(`no checkpoint within ${STORED_MS_MAX} ms`);
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_MS);
    });
  }
}

export const LAST_HOOK_HEADER = ['', 'median', 'max'];

export function lastHookRows({ stored }: LastHook): string[][] {
  return Object.entries(stored).map(([shape, { median, max }]) => [shape, median.toFixed(0), max.toFixed(0)]);
}
