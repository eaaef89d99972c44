import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { askDaemon } from '../../src/control/client.ts';
import type { CheckpointAnswer } from '../../src/daemon/wire-control.ts';
import { usageOf } from '../support/process-usage.ts';
import type { Run } from './clients.ts';

const READY_MS = 20_000;
const CHECKPOINT_MS = 600_000;
/** A VM is up for minutes at least before it is evicted; what the start took, threads and memory, is given back by then. */
const SETTLE_MS = 12_000;

/**
 * Starts the daemon by `program` on `config`, waits until it is idle, has it take a checkpoint, and ends it: what a
 * notice would start. Measured is the checkpoint alone.
 */
export async function checkpointByDaemon(
  program: string,
  config: string,
  socket: string,
  env: Readonly<Record<string, string>>,
): Promise<Run> {
  const child = spawn(program, ['run', '--config', config], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = child.pid ?? 0;
  const exited = once(child, 'exit');
  try {
    await lineWith(createInterface({ input: child.stdout }), 'checkpoint store is ready');
    await sleep(SETTLE_MS);
    const before = await usageOf(pid);
    const startedAt = performance.now();
    const signal = AbortSignal.timeout(CHECKPOINT_MS);
    const asked = { body: {}, timeoutMs: CHECKPOINT_MS, signal };
    // The daemon is of this same checkout.
    const answer = (await askDaemon(socket, 'POST', '/v1/checkpoint', asked)) as CheckpointAnswer;
    const ms = performance.now() - startedAt;
    const after = await usageOf(pid);
    for (const set of answer.sets) {
      if (set.kind === 'failed') throw new Error(`evictd: ${set.code}: ${set.detail}`);
    }
    return { ms, cpuMs: after.cpuMs - before.cpuMs, rssPeakBytes: after.rssPeak };
  } finally {
    child.kill('SIGTERM');
    await exited;
  }
}

async function lineWith(lines: AsyncIterable<string>, wanted: string): Promise<void> {
  const late = AbortSignal.timeout(READY_MS);
  for await (const line of lines) {
    if (line.includes(wanted)) return;
    late.throwIfAborted();
  }
  throw new Error(`evictd ended without saying "${wanted}"`);
}
