import { spawnSync } from 'node:child_process';
import { chmod, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, onTestFinished, test } from 'vitest';

import { checkFormat } from '../../src/hooks/executable-format.ts';
import { hookFolder, isRoot } from './harness.ts';

const EXECUTE = `
import errno, os, sys
try: os.execv(sys.argv[1], sys.argv[1:])
except OSError as error: print(errno.errorcode[error.errno])
`;

/** What the kernel itself says of a program: undefined when it starts it. libuv would give what it refuses to a shell. */
function refusalOfKernel(file: string): string | undefined {
  const { stdout } = spawnSync('python3', ['-c', EXECUTE, file], { cwd: '/', encoding: 'utf8' });
  return stdout.trim() === '' ? undefined : stdout.trim();
}

/** An error that is expected of both, or that neither has. */
async function expectFault(file: string, kernel: string, said: RegExp): Promise<void> {
  expect(refusalOfKernel(file)).toBe(kernel);
  await expect(checkFormat(file)).rejects.toMatchObject({
    code: 'hook-start',
    message: expect.stringMatching(said),
    remedy: expect.stringMatching(/./),
  });
}

async function expectGood(file: string): Promise<void> {
  expect(refusalOfKernel(file)).toBeUndefined();
  await checkFormat(file);
}

async function program(content: string | Buffer, name = 'program'): Promise<string> {
  const file = join(await hookFolder(), name);
  await writeFile(file, content);
  await chmod(file, 0o755);
  return file;
}

/** Not that of a processor for which a package may have registered an emulator. */
const NOBODYS_MACHINE = 0x7a7a;

/** A binary of this machine, with some of its bytes changed. */
async function binary(change: (bytes: Buffer) => void): Promise<string> {
  const bytes = await readFile('/bin/true');
  change(bytes);
  return program(bytes);
}

test('programs that the kernel executes are in order', async () => {
  await expectGood('/bin/true');
  await expectGood(await program('#!/bin/sh\nexit 0\n'));
  await expectGood(await program('#! /usr/bin/env sh\nexit 0\n'));
  await expectGood(await program(`#!/bin/sh${' '.repeat(246)}\nexit 0\n`));
  // Hooks run in /.
  await expectGood(await program('#!bin/sh\nexit 0\n'));
});

test('a #! line that is too long for the kernel is said', async () => {
  const file = await program(`#!/${'x'.repeat(253)}\nexit 0\n`);
  await expectFault(file, 'ENOEXEC', /the #! line of .* has more than 255 characters/);
});

test('interpreters that are scripts are followed as far as the kernel follows them', async () => {
  const folder = await hookFolder();
  let file = '/bin/true';
  for (let n = 1; n <= 5; n++) {
    const next = join(folder, `script-${n}`);
    await writeFile(next, `#!${file}\n`, { mode: 0o755 });
    await expectGood(next);
    file = next;
  }
  const last = join(folder, 'script-6');
  await writeFile(last, `#!${file}\n`, { mode: 0o755 });
  await expectFault(last, 'ELOOP', /one more than the kernel follows/);
});

test('what is wrong with an interpreter is said of the script', async () => {
  const other = await binary((bytes) => bytes.writeUInt16LE(NOBODYS_MACHINE, 18));
  await expectFault(await program(`#!${other}\n`), 'ENOEXEC', /names the interpreter .* another processor/);
  await expectFault(await program('#!no/such\n'), 'ENOENT', /"no\/such", which does not exist/);
});

test.each<[what: string, change: (bytes: Buffer) => void, kernel: string, said: RegExp]>([
  [
    'of another processor',
    (bytes) => bytes.writeUInt16LE(NOBODYS_MACHINE, 18),
    'ENOEXEC',
    /another processor/,
  ],
  ['that is an object file', (bytes) => bytes.writeUInt16LE(1, 16), 'ENOEXEC', /is compiled, but no program/],
  [
    'whose loader is missing',
    (bytes) => bytes.write('/lib/no-such', bytes.indexOf('/lib'), 'latin1'),
    'ENOENT',
    /needs the loader "\/lib\/no-such.*", which does not exist/,
  ],
])('a binary %s is said', async (_, change, kernel, said) => {
  await expectFault(await binary(change), kernel, said);
});

test('a binary that is cut off, and bytes of no format, are said', async () => {
  const bytes = await readFile('/bin/true');
  await expectFault(await program(bytes.subarray(0, 40)), 'ENOEXEC', /is cut off/);
  await expectFault(await program(bytes.subarray(0, 100)), 'ENOEXEC', /is cut off/);
  await expectFault(await program('MZ\x90\0\x03\0\0'), 'ENOEXEC', /in no format that this machine executes/);
});

test('random bytes after the mark of a binary are an answer, never an accident', async () => {
  for (let n = 0; n < 200; n++) {
    const bytes = await readFile('/bin/true');
    for (let changes = 0; changes < 8; changes++) {
      bytes.writeUInt8(Math.floor(Math.random() * 256), 4 + Math.floor(Math.random() * 900));
    }
    const file = await program(bytes.subarray(0, Math.floor(Math.random() * 4096)));
    await checkFormat(file).catch((error: unknown) => expect(error).toMatchObject({ code: 'hook-start' }));
  }
});

test.skipIf(!isRoot)(
  'a file system that is mounted noexec is said, of scripts and interpreters',
  async () => {
    const folder = join(await hookFolder(), 'no exec');
    await mkdir(folder);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'noexec,mode=755,size=1m', 'none', folder]);
    if (mounted.status !== 0) throw new Error(`no tmpfs: ${String(mounted.stderr)}`);
    onTestFinished(() => void spawnSync('umount', ['--lazy', folder]));
    const script = join(folder, 'script');
    await writeFile(script, '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    await expectFault(script, 'EACCES', /is on the file system of .*\/no exec, which is mounted noexec/);
    const file = await program(`#!${script.replace('no exec', 'no')}\n`);
    await expectFault(file, 'ENOENT', /does not exist/);
    const bound = join(await hookFolder(), 'bound');
    await mkdir(bound);
    expect(spawnSync('mount', ['--bind', folder, bound]).status).toBe(0);
    onTestFinished(() => void spawnSync('umount', ['--lazy', bound]));
    expect(spawnSync('mount', ['-o', 'remount,bind,noexec', bound]).status).toBe(0);
    const outer = await program(`#!${join(bound, 'script')}\n`);
    await expectFault(outer, 'EACCES', /names the interpreter .*bound, which is mounted noexec/);
  },
);

test('a file that is just being written is said by the start itself, not before', async () => {
  const file = await program('#!/bin/sh\nexit 0\n');
  await using _writer = await open(file, 'r+');
  expect(refusalOfKernel(file)).toBe('ETXTBSY');
  await checkFormat(file);
});
