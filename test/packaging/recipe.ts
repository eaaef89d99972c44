import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { expect, onTestFinished } from 'vitest';

export const HOOKS = fileURLToPath(new URL('../../packaging/hooks/', import.meta.url));
export const LIMIT_MS = 15_000;

interface Ended {
  readonly code: number | null;
  readonly stderr: string;
}

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-recipes-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export function runHook(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  folder = '',
): Promise<Ended> {
  const [name = '', ...rest] = args;
  const child = spawn(join(HOOKS, name), rest, {
    env: { PATH: `${folder}:${process.env['PATH'] ?? ''}`, FOLDER: folder, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: LIMIT_MS,
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  return ended(child).then((code) => ({ code, stderr }));
}

export function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
}

/** Programs that note how they are called. A unit is active until it is stopped; SIGQUIT ends it unless it is busy. */
/** The variables of a hook before the checkpoint. */
export const DRAIN = {
  EVICTD_STAGE: 'before-checkpoint',
  EVICTD_TIMEOUT_SECONDS: '8',
  EVICTD_DRILL: '0',
  EVICTD_EVENT_TYPE: 'Preempt',
  EVICTD_EVENT_ID: 'E1',
};

export async function appears(file: string, sizeMin = 1): Promise<void> {
  const size = async () => (await stat(file).catch(() => undefined))?.size ?? -1;
  await expect.poll(size, { timeout: LIMIT_MS }).toBeGreaterThanOrEqual(sizeMin);
}
