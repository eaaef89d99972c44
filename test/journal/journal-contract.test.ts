import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { createJournal } from '../../src/journal/journal.ts';
import { type TestFolder, testFolder } from '../support/file-tree.ts';
import { readRules } from '../support/rule-lines.ts';
import { mayMount, smallDisk } from '../support/small-disk.ts';
import { BOOT, journalRules, stateOf } from './journal-contract.ts';

const WRITER = new URL('../fixtures/journal/write-on.ts', import.meta.url).pathname;
const KILLS = 4;
/** Durable writes that are waited for before each of them. */
const WRITES_BEFORE = 20;
const SIMULATED = new URL('../simulation/journal-process.ts', import.meta.url).pathname;

let root: TestFolder;
let folders = 0;
beforeAll(async () => {
  root = await testFolder();
});
afterAll(() => root[Symbol.asyncDispose]());

async function newFolder(): Promise<string> {
  const path = join(root.path, String(++folders));
  await mkdir(path);
  return path;
}

const open = (dir: string, bootId = BOOT) => createJournal({ dir, bootId });

describe('journal contract: on a real file system', () => {
  const rules = journalRules({
    folder: newFolder,
    open,
    read: (path) => readFile(path, 'utf8'),
    write: (path, content) => writeFile(path, content),
    names: (dir) => readdir(dir),
    link: (target, path) => symlink(target, path),
  });
  test.for(rules.map(({ title, run }) => [title, run] as const))('%s', async ([, run]) => {
    await expect(run()).resolves.toBeUndefined();
  });
});

test('journal contract: on the disk of the simulation, which fails and dies at every step', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [SIMULATED], { timeout: 20_000 });
  const results = readRules(stdout);
  expect(results.length).toBeGreaterThan(12);
  // What was all right has no error.
  expect(results.filter((result) => JSON.stringify(result).includes('"error"'))).toEqual([]);
});

test('a writer that is killed again and again has always left its newest state, or the one after it', async () => {
  const dir = await newFolder();
  let next = 0;
  for (let kills = 0; kills < KILLS; kills++) {
    const writer = spawn(process.execPath, [WRITER, dir, BOOT, String(next)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    const durable = () => Number(said.split('\n').at(-2) ?? -1);
    const closed = once(writer, 'close');
    for await (const chunk of writer.stdout) {
      said += String(chunk);
      if (durable() >= next + WRITES_BEFORE + kills) writer.kill('SIGKILL');
    }
    await closed;
    const found = await open(dir).load();
    if (found.kind !== 'same-boot') throw new Error(`after kill ${kills} it is ${JSON.stringify(found)}`);
    const number = Number(found.state.vmName);
    expect([durable(), durable() + 1]).toContain(number);
    next = number + 1;
  }
  await open(dir).write(stateOf('the last'));
  expect(await readdir(dir)).toEqual(['journal.json']);
});

test.skipIf(!mayMount)(
  'on a full disk, and on one that became read-only, what it remembers still counts',
  async () => {
    await using disk = await smallDisk(64 * 1024);
    await open(disk.path).write(stateOf('old'));
    const fill = join(disk.path, 'fill');
    await writeFile(fill, Buffer.alloc(1024 ** 2)).catch(() => undefined);
    const journal = open(disk.path);
    await expect(journal.write(stateOf('new'))).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await journal.load()).toMatchObject({ kind: 'same-boot', state: { vmName: 'old' } });
    expect((await readdir(disk.path)).toSorted()).toEqual(['fill', 'journal.json']);
    await rm(fill);
    await journal.write(stateOf('new'));
    await disk.makeReadOnly();
    await expect(journal.checkFolder()).rejects.toMatchObject({
      code: 'state-unwritable',
      remedy: expect.stringContaining('ReadWritePaths='),
    });
    await expect(journal.write(stateOf('newer'))).rejects.toMatchObject({ code: 'EROFS' });
    expect(await open(disk.path).load()).toMatchObject({ kind: 'same-boot', state: { vmName: 'new' } });
  },
);

test.skipIf(!mayMount)(
  'one of somebody else is read, and is our own and closed to others after the next write',
  async () => {
    const dir = await newFolder();
    const { file } = open(dir);
    await open(dir).write(stateOf('old'));
    await chown(file, 65_534, 65_534);
    await chmod(file, 0o666);
    const journal = open(dir);
    expect(await journal.load()).toMatchObject({ kind: 'same-boot' });
    await journal.write(stateOf('new'));
    expect(await stat(file)).toMatchObject({ uid: 0, gid: 0, mode: 0o100600 });
  },
);
