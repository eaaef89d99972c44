import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import * as z from 'zod';

import { BUNDLE, runBundle } from './support.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-bundle-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function ownVersion(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

describe('the bundle', () => {
  test('runs alone, without node_modules and from any folder', async () => {
    const copy = join(folder, 'evictd.js');
    await copyFile(BUNDLE, copy);
    for (const args of [['version'], ['config', 'reference'], ['--help']]) {
      expect(await runBundle(args, { file: copy, cwd: folder })).toMatchObject({ code: 0, stderr: '' });
    }
  });

  test('works in a folder that has been removed, threads included', async () => {
    const config = join(folder, 'removed.yaml');
    const set = join(folder, 'set');
    await mkdir(set);
    const store = 'http://127.0.0.1:9/devstoreaccount1/none';
    await writeFile(
      config,
      `vm: { name: vm-1 }\nstate: { dir: ${folder}/state }\ncontrol: { socket: ${folder}/none.sock }\n` +
        `checkpoint: { store: { url: "${store}", auth: { kind: azurite } }, key: k, sets: [{ name: job, path: ${set} }] }\n`,
    );
    const lost = join(folder, 'lost');
    const command = `mkdir ${lost} && cd ${lost} && rmdir ${lost} && exec "$0" "$@"`;
    const child = spawn('sh', ['-c', command, process.execPath, BUNDLE, 'checkpoints', '--config', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 50_000,
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    const [code] = await once(child, 'close');
    // Nobody is there: a thread has found that out.
    expect(stderr).toContain('ECONNREFUSED');
    expect(code).toBe(1);
  });

  test('begins with a line that makes it a program', async () => {
    expect((await readFile(BUNDLE, 'utf8')).split('\n')[0]).toBe('#!/usr/bin/env node');
  });

  test('knows its version and commit', async () => {
    const { stdout } = await runBundle(['version', '--json']);
    expect(JSON.parse(stdout)).toEqual({
      version: await ownVersion(),
      commit: expect.stringMatching(/^([0-9a-f]{12}(-dirty)?|unknown)$/),
      node: process.version,
    });
  });

  test('says when its answer could not be written', async () => {
    const full = await open('/dev/full', 'w');
    const child = spawn(process.execPath, [BUNDLE, 'config', 'reference'], {
      stdio: ['ignore', full.fd, 'pipe'],
      timeout: 20_000,
    });
    await full.close();
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    const [code] = await once(child, 'close');
    expect(stderr).toMatch(/^evictd: the output can't be written: ENOSPC/);
    expect(code).toBe(1);
  });

  test('goes on as a daemon whose log fills its disk, and opens no debugger to others', async () => {
    const config = join(folder, 'full.yaml');
    const socket = join(folder, 'full.sock');
    await writeFile(
      config,
      `vm: { name: vm-1 }\nstate: { dir: ${folder}/full }\ncontrol: { socket: ${socket} }\n`,
    );
    const full = await open('/dev/full', 'w');
    const args = [BUNDLE, 'run', '--config', config, '--imds', 'http://127.0.0.1:9'];
    const child = spawn(process.execPath, args, { stdio: ['ignore', full.fd, 'pipe'], timeout: 50_000 });
    await full.close();
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    const isUp = async () => {
      expect(await runBundle(['status', '--config', config])).toMatchObject({ stderr: '' });
    };
    await vi.waitFor(isUp, { timeout: 30_000 });
    child.kill('SIGUSR1');
    await isUp();
    child.kill('SIGTERM');
    const [code] = await once(child, 'close');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  test('ends quietly when the reader of its output leaves', async () => {
    const child = spawn(process.execPath, [BUNDLE, 'config', 'reference'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 20_000,
    });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    const [code] = await once(child, 'close');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  test('ends its command at SIGTERM', async () => {
    const child = spawn(process.execPath, [BUNDLE, 'mock-imds', '--listen', '127.0.0.1:0', '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 20_000,
    });
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});

describe('config commands', () => {
  test('check says OK with the files, and warnings on stderr', async () => {
    const file = join(folder, 'ok.yaml');
    await writeFile(file, 'events:\n  Quarantine: { drain: true }\n', { mode: 0o600 });
    const { code, stdout, stderr } = await runBundle(['config', 'check', '--config', file]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `valid, with 2 warnings: ${file}\n` });
    expect(stderr).toContain('warning: events.Quarantine');
    expect(await runBundle(['config', 'check', '--strict', '--config', file])).toMatchObject({
      code: 2,
      stdout,
    });
  });

  test('check warns of hooks that can not work here', async () => {
    const file = join(folder, 'gone.yaml');
    const hooks = 'hooks: [{ name: gone, run: [/nonexistent/stop] }]';
    await writeFile(file, `hooksDir: /nonexistent\n${hooks}\n`, { mode: 0o600 });
    const text = await runBundle(['config', 'check', '--config', file]);
    expect(text).toMatchObject({ code: 0, stdout: `valid, with 1 warning: ${file}\n` });
    expect(text.stderr).toContain(`evictd: warning: ${file}:2:28: hook "gone" would fail: /nonexistent/stop`);
    const json = await runBundle(['config', 'check', '--config', file, '--json']);
    expect(json).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({
      valid: true,
      warnings: [expect.stringContaining('gone')],
    });
  });

  // A machine that evictd is installed on has a file there.
  test.skipIf(existsSync('/etc/evictd'))(
    'check says that it found no file, and where it looked',
    async () => {
      const { code, stderr } = await runBundle(['config', 'check']);
      expect(code).toBe(0);
      expect(stderr).toContain('warning: no config file was found: neither /etc/evictd/config.yaml nor');
    },
  );

  test('check names every problem and ends with 2, as text and as JSON', async () => {
    const file = join(folder, 'bad.yaml');
    await writeFile(file, 'imds:\n  pollIntervall: 1s\nlog: { level: 5 }\n', { mode: 0o600 });
    const text = await runBundle(['config', 'check', '--config', file]);
    expect(text).toMatchObject({ code: 2, stdout: '' });
    expect(text.stderr).toContain(
      `${file}:2:3: imds.pollIntervall: is not a known key; did you mean "pollInterval"?`,
    );
    expect(text.stderr).toContain(`${file}:3:15: log.level: 5 is not`);
    const json = await runBundle(['config', 'check', '--config', file, '--json']);
    expect(json).toMatchObject({ code: 2, stderr: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({
      valid: false,
      problems: [{ key: 'imds.pollIntervall' }, { key: 'log.level' }],
    });
  });

  test('run stops at an insecure file with 2', async () => {
    const file = join(folder, 'open.yaml');
    await writeFile(file, 'log: {}\n');
    await chmod(file, 0o666);
    const { code, stderr } = await runBundle(['run', '--config', file]);
    expect(code).toBe(2);
    expect(stderr).toContain('mode 0666');
    expect(stderr).toContain(`chmod go-w ${file}`);
  });

  test('show gives each value with where it comes from', async () => {
    const file = join(folder, 'show.yaml');
    await writeFile(file, 'imds: { pollInterval: 2s }\n', { mode: 0o600 });
    const { stdout } = await runBundle(['config', 'show', '--config', file, '--json'], {
      env: { EVICTD_LOG_LEVEL: 'debug' },
    });
    const { values } = z.object({ values: z.array(z.unknown()) }).parse(JSON.parse(stdout));
    expect(values).toContainEqual({ key: 'imds.pollInterval', value: '2s', origin: `${file}:1:23` });
    expect(values).toContainEqual({
      key: 'log.level',
      value: 'debug',
      origin: 'environment EVICTD_LOG_LEVEL',
    });
    expect(values).toContainEqual({ key: 'window.notice', value: '30s', origin: 'default' });
  });

  test('schema prints a JSON Schema', async () => {
    const { code, stdout } = await runBundle(['config', 'schema']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ type: 'object', additionalProperties: false });
  });
});
