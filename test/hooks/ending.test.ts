import { getEventListeners } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, onTestFinished, test } from 'vitest';

import { LATENESS_MS, failure, hookFolder, isAlive, rig, until } from './harness.ts';

test('a hook that ignores SIGTERM is killed at its timeout with all of its group', async () => {
  const folder = await hookFolder('ignore-term');
  const hooks = rig([{ name: 'stubborn', run: [join(folder, 'ignore-term')] }]);
  const result = failure(await hooks.run('stubborn', { timeoutMs: 800 }));
  expect(result).toMatchObject({ reason: 'timeout', detail: expect.stringContaining('had to be killed') });
  expect(result.durationMs).toBeGreaterThanOrEqual(799);
  expect(result.durationMs).toBeLessThan(800 + LATENESS_MS);
  expect(await findByCommand(folder)).toEqual([]);
});

test('a hook that stops on SIGTERM has its grace, and is a timeout all the same', async () => {
  const folder = await hookFolder('stop-on-term');
  const hooks = rig([{ name: 'polite', run: [join(folder, 'stop-on-term')] }]);
  const result = failure(await hooks.run('polite', { timeoutMs: 2000 }));
  expect(result).toMatchObject({ reason: 'timeout', detail: expect.stringContaining('after SIGTERM') });
  expect(hooks.texts()).toEqual(['ready', 'stopped']);
  // A quarter of two seconds is the grace.
  expect(result.durationMs).toBeGreaterThanOrEqual(1499);
});

test('an abort ends a hook as cancelled, with TERM and then KILL', async () => {
  const folder = await hookFolder('stop-on-term', 'ignore-term');
  for (const [program, how, killGraceMs] of [
    // As long as a busy machine may take.
    ['stop-on-term', 'after SIGTERM', 10_000],
    ['ignore-term', 'had to be killed', 200],
  ] as const) {
    const hooks = rig([{ name: 'hook', run: [join(folder, program)] }], process.env, { killGraceMs });
    const controller = new AbortController();
    const running = hooks.run('hook', { timeoutMs: 60_000 }, controller.signal);
    await hooks.line('ready');
    controller.abort();
    const result = failure(await running);
    expect(result).toMatchObject({ reason: 'cancelled', detail: expect.stringContaining(how) });
    expect(result.durationMs).toBeLessThan(20_000);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  }
  expect(await findByCommand(folder)).toEqual([]);
});

test('an abort before the start starts nothing', async () => {
  const folder = await hookFolder('record-and-wait');
  const hooks = rig([{ name: 'wait', run: [join(folder, 'record-and-wait'), folder] }]);
  const result = failure(await hooks.run('wait', {}, AbortSignal.abort()));
  expect(result.reason).toBe('cancelled');
  await expect(readFile(join(folder, 'attempt-1'))).rejects.toThrow('ENOENT');
});

test('a child that holds the pipe and ignores SIGTERM does not hold the result, and is ended', async () => {
  const folder = await hookFolder('leave-child');
  const hooks = rig([{ name: 'leaves', run: [join(folder, 'leave-child')] }]);
  const result = await hooks.run('leaves');
  expect(result).toMatchObject({ kind: 'succeeded' });
  expect(result.durationMs).toBeLessThan(LATENESS_MS);
  const child = Number((await hooks.line('child')).text.split(' ')[1]);
  await until('end of the child', () => !isAlive(child));
  expect(hooks.texts('stderr').join()).toContain('what the hook left in its process group was ended');
});

test('a child in a session of its own lives on, without holding the result', async () => {
  const folder = await hookFolder('leave-session');
  const file = join(folder, 'pid');
  const hooks = rig([{ name: 'leaves', run: [join(folder, 'leave-session'), file] }]);
  const result = await hooks.run('leaves');
  const child = Number(await readFile(file, 'utf8'));
  onTestFinished(() => void (isAlive(child) && process.kill(child, 'SIGKILL')));
  expect(result).toMatchObject({ kind: 'succeeded' });
  expect(result.durationMs).toBeLessThan(LATENESS_MS);
  expect(isAlive(child)).toBe(true);
  // Until the next attempt: that finds it by its environment.
  expect(await hooks.reap('leaves')).toBe(1);
  expect(await hooks.reap('leaves')).toBe(0);
});

test('what a child writes right after the hook\u2019s end is still heard', async () => {
  const folder = await hookFolder('last-words');
  const hooks = rig([{ name: 'tee', run: [join(folder, 'last-words')] }]);
  expect(await hooks.run('tee')).toMatchObject({ kind: 'succeeded' });
  expect(hooks.texts()).toEqual(['last words']);
});

test('forty hooks at once leave no file, no listener and no warning behind', async () => {
  const folder = await hookFolder('describe-itself', 'ignore-term');
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => void warnings.push(warning);
  process.on('warning', onWarning);
  onTestFinished(() => void process.off('warning', onWarning));
  const many = Array.from({ length: 40 }, (_, index) => ({
    name: `hook-${index}`,
    run: [join(folder, index % 8 === 0 ? 'ignore-term' : 'describe-itself')],
  }));
  const hooks = rig(many);
  await hooks.run('hook-1');
  const controller = new AbortController();
  const before = await readdir('/proc/self/fd');
  const results = await Promise.all(
    many.map(({ name }) => hooks.run(name, { timeoutMs: 4000 }, controller.signal)),
  );
  expect(results.filter((result) => result.kind === 'succeeded')).toHaveLength(35);
  expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  await until('return to the files of before', async () => {
    return (await readdir('/proc/self/fd')).length <= before.length;
  });
  expect(warnings).toEqual([]);
});

/** Processes that run a program of this folder. */
async function findByCommand(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (command.includes(folder)) found.push(command.replaceAll('\0', ' '));
  }
  return found;
}
