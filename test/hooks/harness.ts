import { chmod, copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { onTestFinished } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { HookRequest, HookResult } from '../../src/core/ports.ts';
import { listProcesses } from '../../src/hooks/process-group.ts';
import { createHookRunner } from '../../src/hooks/runner.ts';
import type { CommandHook, HookOutputLine, HookRunnerOptions } from '../../src/hooks/runner.ts';
import { EVENT, request } from './request.ts';

export const FIXTURES = new URL('../fixtures/hooks/', import.meta.url).pathname;
export const isRoot = process.geteuid?.() === 0;
/** A result may come this much after the granted time; generous, for a busy machine. */
export const LATENESS_MS = 8000;

/** A folder that is gone after the test; with the fixture programs named, in modes that no umask has touched. */
export async function hookFolder(...fixtures: string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-hooks-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  for (const fixture of fixtures) {
    await copyFile(join(FIXTURES, fixture), join(folder, fixture));
    await chmod(join(folder, fixture), 0o755);
  }
  return folder;
}

export interface Rig {
  readonly lines: HookOutputLine[];
  texts(stream?: 'stdout' | 'stderr'): string[];
  run(name: string, changes?: Partial<HookRequest>, signal?: AbortSignal): Promise<HookResult>;
  reap(hook: string): Promise<number>;
  /** Resolves with the first line that contains a text. */
  line(text: string): Promise<HookOutputLine>;
}

/** A real runner on the real clock that keeps what its hooks write. */
export function rig(
  hooks: readonly CommandHook[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
  options: Omit<HookRunnerOptions, 'hooks'> = {},
): Rig {
  const lines: HookOutputLine[] = [];
  const onOutput = (line: HookOutputLine) => void lines.push(line);
  const runner = createHookRunner({ hooks, ...options }, { clock: systemClock, onOutput, environment });
  const find = (text: string) => lines.find((line) => line.text.includes(text));
  return {
    lines,
    texts: (stream) =>
      lines.filter((line) => stream === undefined || line.stream === stream).map((line) => line.text),
    run: (name, changes, signal = new AbortController().signal) => runner.run(request(name, changes), signal),
    reap: (hook) => runner.reapLeftovers({ eventId: EVENT.id, hook }, new AbortController().signal),
    line: (text) => until(`a line with ${text}`, () => find(text)),
  };
}

/** Waits for a condition; fails with its name when it doesn't come. */
export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const endsAt = performance.now() + 10_000;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > endsAt) throw new Error(`no ${what} within 10 s`);
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}

/** A zombie is dead: in a container nobody may reap it. */
export function isAlive(pid: number): boolean {
  return listProcesses().some((entry) => entry.pid === pid);
}

/** Fails the test unless the result is a failure; answers it. */
export function failure(result: HookResult): Extract<HookResult, { kind: 'failed' }> {
  if (result.kind !== 'failed') throw new Error(`the hook ${result.kind}`);
  return result;
}
