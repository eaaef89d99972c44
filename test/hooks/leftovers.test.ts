import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, onTestFinished, test } from 'vitest';

import { FIXTURES, hookFolder, isAlive, rig, until } from './harness.ts';
import { EVENT, request } from './request.ts';

/** A daemon that runs the hook and dies of kill -9 in the middle; answers the hook's process id. */
async function killedDaemon(hook: { name: string; run: string[] }, folder: string): Promise<number> {
  const task = JSON.stringify({ hook, request: request(hook.name, { timeoutMs: 600_000 }) });
  const daemon = spawn(process.execPath, [join(FIXTURES, 'run-one-hook.ts'), task], { stdio: 'ignore' });
  const ended = new Promise((resolve) => daemon.once('exit', resolve));
  onTestFinished(() => void daemon.kill('SIGKILL'));
  const text = await until('process id', () =>
    readFile(join(folder, 'attempt-1'), 'utf8').catch(() => undefined),
  );
  const pid = Number(text);
  onTestFinished(() => void (isAlive(pid) && process.kill(-pid, 'SIGKILL')));
  daemon.kill('SIGKILL');
  await ended;
  return pid;
}

test('a second attempt never runs beside the first one of a killed daemon', async () => {
  const folder = await hookFolder('record-and-wait');
  const hook = { name: 'lasting', run: [join(folder, 'record-and-wait'), folder] };
  const orphan = await killedDaemon(hook, folder);
  expect(isAlive(orphan)).toBe(true);

  const hooks = rig([hook], process.env, { killGraceMs: 100 });
  const result = await hooks.run('lasting', { attempt: 2 });
  expect(hooks.texts()).toEqual([]);
  expect(result).toMatchObject({ kind: 'succeeded' });
  expect(isAlive(orphan)).toBe(false);
  expect(await readFile(join(folder, 'attempt-2'), 'utf8')).toMatch(/^\d+\n$/);
});

test('only the processes of this event and this hook are ended', async () => {
  const folder = await hookFolder('record-and-wait');
  const hook = { name: 'lasting', run: [join(folder, 'record-and-wait'), folder] };
  const orphan = await killedDaemon(hook, folder);
  const hooks = rig([hook, { name: 'last', run: hook.run }], process.env, { killGraceMs: 100 });
  expect(await hooks.reap('last')).toBe(0);
  const other = { ...EVENT, id: 'another-event' };
  expect(await hooks.run('lasting', { attempt: 2, event: other })).toMatchObject({ reason: 'exit' });
  expect(isAlive(orphan)).toBe(true);
  // The hook and the `sleep` that it waits for.
  expect(await hooks.reap('lasting')).toBe(2);
  expect(isAlive(orphan)).toBe(false);
});

test('the search for leftovers counts into the hook\u2019s time', async () => {
  const folder = await hookFolder('record-and-wait');
  const hook = { name: 'lasting', run: [join(folder, 'record-and-wait'), folder] };
  const orphan = await killedDaemon(hook, folder);
  const result = await rig([hook]).run('lasting', { attempt: 2, timeoutMs: 8000 });
  expect(result).toMatchObject({ kind: 'succeeded' });
  // It ignores SIGTERM, so the grace of a second is over before the second attempt starts.
  expect(result.durationMs).toBeGreaterThanOrEqual(999);
  expect(result.durationMs).toBeLessThan(8000);
  expect(isAlive(orphan)).toBe(false);
});
