import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { getCompileCacheDir } from 'node:module';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';
import { gunzipSync } from 'node:zlib';

// The build puts the thread's whole program here, as gzip in base64; run from source it is a file.
declare const EVICTD_ENGINE_THREAD: string | undefined;
const PROGRAM = typeof EVICTD_ENGINE_THREAD === 'undefined' ? undefined : EVICTD_ENGINE_THREAD;

/** Where the program is, once it is known. */
let file: string | undefined;

/** Starts a thread with the engine's program. The environment can hold secrets, and a thread needs none of it. */
export function startProgram(options: Pick<WorkerOptions, 'name' | 'workerData'>): Worker {
  if (PROGRAM === undefined)
    return new Worker(new URL('engine-thread.ts', import.meta.url), { ...options, env: {} });
  const cache = getCompileCacheDir();
  if (cache === undefined) return new Worker(textOf(PROGRAM), { ...options, env: {}, eval: true });
  try {
    file ??= keepProgram(PROGRAM, cache);
    return new Worker(file, { ...options, env: { NODE_COMPILE_CACHE: dirname(cache) } });
  } catch {
    // A disk that is full or read-only costs time only.
    return new Worker(textOf(PROGRAM), { ...options, env: {}, eval: true });
  }
}

function textOf(program: string): string {
  return gunzipSync(Buffer.from(program, 'base64')).toString();
}

/**
 * Node keeps compiled code of files only. So where it keeps any, the program is put beside that, under a name of its
 * own: a thread starts in half the time then.
 */
function keepProgram(program: string, folder: string): string {
  const hash = createHash('sha256').update(program);
  const kept = join(folder, `evictd-engine-${hash.digest('hex').slice(0, 16)}.cjs`);
  if (existsSync(kept)) return kept;
  mkdirSync(folder, { recursive: true });
  const begun = `${kept}.${process.pid}`;
  writeFileSync(begun, textOf(program), { mode: 0o600, flag: 'wx' });
  renameSync(begun, kept);
  return kept;
}
