// A small training job: state in memory, written to disk step by step; at SIGTERM it writes what it has and ends.
// Usage: worker.ts FOLDER
import { randomFillSync } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const MODEL_BYTES = 48 * 1024 * 1024;
/** Training touches one part of the model at a time, so that most chunks stay as they were saved. */
const ACTIVE_BYTES = 6 * 1024 * 1024;
const SHARDS = 40;
const STEP_MS = 50;

function main(folder: string): void {
  mkdirSync(path.join(folder, 'shards'), { recursive: true });
  const stepFile = path.join(folder, 'step');
  const model = loadModel(path.join(folder, 'model.bin'));
  let step = loadStep(stepFile);
  const timer = setInterval(() => {
    step++;
    // Like a training step: a few places of the model change, a shard is rewritten, the log grows.
    randomFillSync(model, (step * 4096) % ACTIVE_BYTES, 4096);
    writeFileSync(path.join(folder, 'shards', `${step % SHARDS}.txt`), `shard of step ${step}\n`.repeat(200));
    appendFileSync(path.join(folder, 'train.log'), `step ${step} loss ${(1 / step).toFixed(6)}\n`);
    // Replaced as a whole: a reader finds one step or the next, never half of one.
    writeFileSync(`${stepFile}.new`, `${step}\n`);
    renameSync(`${stepFile}.new`, stepFile);
  }, STEP_MS);
  process.on('SIGTERM', () => {
    clearInterval(timer);
    // Not before now is everything on disk: without this hook the last minutes would be lost.
    writeFileSync(path.join(folder, 'model.new'), model);
    renameSync(path.join(folder, 'model.new'), path.join(folder, 'model.bin'));
    process.exit(0);
  });
  console.log(`training from step ${step}`);
}

function loadModel(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch {
    const model = randomFillSync(Buffer.alloc(MODEL_BYTES));
    writeFileSync(file, model);
    return model;
  }
}

function loadStep(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return 0;
  }
}

main(process.argv[2] ?? '.');
