import { closeSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { pattern } from '../support/file-tree.ts';

export interface Workload extends Disposable {
  pause(): void;
  resume(): void;
}

const WRITE_EVERY_MS = 20;
const MIB = 1024 ** 2;
const MODEL_BYTES = 8 * MIB + 64 * 1024;
const SHARDS = 4;
/** Files that come, stay for a while and go, as the steps of a trainer. */
const STEPS_KEPT = 3;

/** A program that writes all the time: into a large file, and new files in the place of small ones. */
export function startWorkload(job: string): Workload {
  const model = openSync(join(job, 'model'), 'w');
  writeSync(model, pattern(MODEL_BYTES, 1));
  let round = 0;
  const write = () => {
    round++;
    // Mostly its last block, which is small; sometimes another one.
    const at = round % 200 === 0 ? (round * 4099) % MODEL_BYTES : MODEL_BYTES - 4096;
    writeSync(model, pattern(4096, round), 0, 4096, at);
    replace(join(job, `shard-${round % SHARDS}`), pattern(16 * 1024, round));
    if (round % 20 !== 0) return;
    replace(join(job, `step-${round}`), pattern(8 * 1024, round));
    rmSync(join(job, `step-${round - 20 * STEPS_KEPT}`), { force: true });
  };
  let timer: NodeJS.Timeout | undefined;
  const workload = {
    pause: () => clearInterval(timer),
    resume() {
      clearInterval(timer);
      timer = setInterval(write, WRITE_EVERY_MS);
    },
    [Symbol.dispose]() {
      clearInterval(timer);
      closeSync(model);
    },
  };
  workload.resume();
  return workload;
}

function replace(file: string, content: Uint8Array): void {
  writeFileSync(`${file}.tmp`, content);
  renameSync(`${file}.tmp`, file);
}
