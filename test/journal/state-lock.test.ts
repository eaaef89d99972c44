import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, it } from 'vitest';

import { lockState } from '../../src/journal/state-lock.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-lock-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const signal = AbortSignal.timeout(20_000);

it('is held by one, and free again once that has given it back', async () => {
  const dir = join(folder, 'state');
  const first = await lockState(dir, signal);
  await expect(lockState(dir, signal)).rejects.toMatchObject({
    code: 'already-running',
    message: `another evictd uses the state.dir ${dir}`,
  });
  await first[Symbol.asyncDispose]();
  await using _again = await lockState(dir, signal);
});

it('is free as soon as a process that had it was killed, also with a child that lives on', async () => {
  const lock = new URL('../../src/journal/state-lock.ts', import.meta.url).href;
  const script =
    `import { spawn } from 'node:child_process'; import { lockState } from ${JSON.stringify(lock)};` +
    `globalThis.lock = await lockState(${JSON.stringify(folder)}, AbortSignal.timeout(20_000));` +
    `const child = spawn('cat', { stdio: ['inherit', 'ignore', 'ignore'] });` +
    `child.once('spawn', () => console.log('locked'));`;
  const holder = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // Closing it ends the child too.
  using _stdin = { [Symbol.dispose]: () => holder.stdin.end() };
  await once(holder.stdout, 'data');
  await expect(lockState(folder, signal)).rejects.toMatchObject({ code: 'already-running' });
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  await using _lock = await lockState(folder, signal);
});

it.runIf(process.getuid?.() === 0)('can not be held by another user, who may read the folder', async () => {
  const dir = join(folder, 'state');
  await chmod(folder, 0o755);
  await mkdir(dir, { mode: 0o755 });
  const hold = (what: string) =>
    spawn('flock', ['--nonblock', what, 'sh', '-c', 'echo held; exec cat'], {
      uid: 5001,
      gid: 5001,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
  const holder = hold(dir);
  using _stdin = { [Symbol.dispose]: () => holder.stdin.end() };
  expect(String(await once(holder.stdout, 'data'))).toBe('held\n');
  await using _lock = await lockState(dir, signal);
  await expect(lockState(dir, signal)).rejects.toMatchObject({
    code: 'already-running',
    message: `another evictd uses the state.dir ${dir}`,
  });
  for (const name of await readdir(dir)) {
    const [code] = await once(hold(join(dir, name)), 'close');
    expect(code).not.toBe(0);
  }
});

it('that can not be had is another error than one that somebody has', async () => {
  const file = join(folder, 'file');
  await writeFile(file, '');
  await expect(lockState(file, signal)).rejects.toMatchObject({ code: 'state-unlocked' });
});

it.runIf(process.getuid?.() === 0)('is not taken where others could change the folder', async () => {
  await chown(folder, 5001, 5001);
  await expect(lockState(join(folder, 'state'), signal)).rejects.toMatchObject({
    code: 'state-unlocked',
    message: expect.stringMatching(/^state\.dir: .* is reached through .*, which belongs to a user/),
    remedy: `chown root ${folder}`,
  });
});
