import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { z } from 'zod';

import { askDaemon } from '../../src/control/client.ts';
import { createSpotVm, type SpotVm } from '../support/spot-vm.ts';
import { writeFiles } from './data.ts';
import { startSink } from './sink.ts';
import { type Summary, summarize } from './statistics.ts';

const PROBE = fileURLToPath(new URL('poll-probe.ts', import.meta.url));
/** As the rig has it. */
const INTERVAL_MS = 250;
const IDLE_MS = 10_000;
const STAGED_MS_MAX = 600_000;
const ANSWER_MS = 10_000;
const LOOK_MS = 500;
const FILES = 4;

/** How late the daemon's polls go out. */
export interface PollJitter {
  readonly name: 'poll-jitter';
  readonly bytes: number;
  /** While `bytes` are read, hashed and sent over TLS with nothing but the machine to slow that down. */
  readonly staging: Lateness;
  /** After that. */
  readonly idle: Lateness;
}

type Lateness = Summary & { readonly polls: number };

/** The built daemon with its real poller, staging in the background without a limit. */
export async function measurePollJitter(bytes: number): Promise<PollJitter> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-bench-'));
  try {
    await using sink = await startSink(folder);
    const polls = join(folder, 'polls');
    await writeFile(polls, '');
    await using vm = await createSpotVm({
      store: { url: sink.url, auth: { kind: 'sas', file: sink.signatureFile } },
      checkpoint: { background: { interval: '1s', idle: '0s', maxRate: '1TiB' } },
      env: {
        NODE_EXTRA_CA_CERTS: sink.caFile,
        NODE_OPTIONS: `--import=${PROBE}`,
        BENCH_PROBE_FILE: polls,
      },
    });
    await writeFiles(vm.job, FILES, bytes / FILES);
    await vm.daemon();
    const sentAt = async () => (await readFile(polls, 'utf8')).trim().split('\n').map(Number);
    const started = (await sentAt()).length;
    await until(async () => (await staged(vm)) >= bytes);
    const ended = (await sentAt()).length;
    await pause(IDLE_MS);
    const all = await sentAt();
    return {
      name: 'poll-jitter',
      bytes,
      staging: latenessOf(all.slice(started, ended)),
      idle: latenessOf(all.slice(ended)),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** On a fixed schedule each poll can only be late; the one that was least so stands for the schedule. */
function latenessOf(sentAt: readonly number[]): Lateness {
  const [first] = sentAt;
  if (first === undefined) throw new Error('the daemon was not seen to poll');
  const offsets = sentAt.map((at) => at - first - Math.round((at - first) / INTERVAL_MS) * INTERVAL_MS);
  const least = Math.min(...offsets);
  return { ...summarize(offsets.map((offset) => offset - least)), polls: sentAt.length };
}

const Staged = z.object({ sets: z.array(z.object({ bytesStored: z.number() })) });

async function staged({ folder }: SpotVm): Promise<number> {
  const signal = AbortSignal.timeout(ANSWER_MS);
  const asked = { timeoutMs: ANSWER_MS, signal };
  const status = Staged.parse(await askDaemon(join(folder, 'evictd.sock'), 'GET', '/v1/status', asked));
  return status.sets.reduce((sum, { bytesStored }) => sum + bytesStored, 0);
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const endsAt = performance.now() + STAGED_MS_MAX;
  while (!(await condition())) {
    if (performance.now() > endsAt) throw new Error(`not staged within ${STAGED_MS_MAX} ms`);
    await pause(LOOK_MS);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

export const POLLS_HEADER = ['', 'polls', 'late by ms, median', 'p99', 'max'];

export function pollRows({ staging, idle }: PollJitter): string[][] {
  return Object.entries({ 'staging at full speed': staging, idle }).map(
    ([name, { polls, median, p99, max }]) => [
      name,
      String(polls),
      ...[median, p99, max].map((ms) => ms.toFixed(1)),
    ],
  );
}
