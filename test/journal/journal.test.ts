import { chmod, mkdir, mkdtemp, open, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { INITIAL_STATE } from '../../src/core/state.ts';
import type { State } from '../../src/core/state.ts';
import { createJournal, readBootId } from '../../src/journal/journal.ts';
import { noticed } from '../core/support.ts';

const BOOT = 'this-boot';

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-journal-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder whose journal holds a drain, and that journal's text. */
async function writtenFolder(): Promise<{ dir: string; file: string; state: State; text: string }> {
  const dir = await emptyFolder();
  const { state } = noticed();
  const journal = createJournal({ dir, bootId: BOOT });
  await journal.write(state);
  return { dir, file: journal.file, state, text: await readFile(journal.file, 'utf8') };
}

describe('the journal', () => {
  it('gives back the state in the same boot, and tells when it is of an earlier one', async () => {
    const { dir, state } = await writtenFolder();
    expect(await createJournal({ dir, bootId: BOOT }).load()).toEqual({ kind: 'same-boot', state });
    const later = await createJournal({ dir, bootId: 'next-boot' }).load();
    expect(later).toEqual({ kind: 'earlier-boot', state });
  });

  it('has a mode that only its owner can read', async () => {
    const { file } = await writtenFolder();
    await using handle = await open(file);
    expect((await handle.stat()).mode & 0o777).toBe(0o600);
  });

  it('writes again after a failure, also when nothing has changed', async () => {
    const dir = await emptyFolder();
    const journal = createJournal({ dir: join(dir, 'state'), bootId: BOOT });
    await expect(journal.write(INITIAL_STATE)).rejects.toThrow();
    await mkdir(join(dir, 'state'));
    await journal.write(INITIAL_STATE);
    expect(await readdir(join(dir, 'state'))).toEqual(['journal.json']);
  });

  it('says which folder can not be written, and is read from it all the same', async () => {
    const { file, dir, state } = await writtenFolder();
    // A folder that even root can't write into: below a file.
    const blocked = createJournal({ dir: join(file, 'state'), bootId: BOOT });
    await expect(blocked.checkFolder()).rejects.toMatchObject({
      code: 'state-unwritable',
      message: expect.stringContaining(join(file, 'state')),
      remedy: expect.stringContaining('state.dir'),
    });
    expect(await blocked.load()).toEqual({ kind: 'nothing' });
    await chmod(dir, 0o500);
    expect(await createJournal({ dir, bootId: BOOT }).load()).toEqual({ kind: 'same-boot', state });
    await chmod(dir, 0o700);
  });

  it('knows the boot by an id that does not change while it lasts', async () => {
    expect(await readBootId()).toMatch(/^[0-9a-f-]{36}$/);
    expect(await readBootId()).toBe(await readBootId());
  });
});

describe('a journal that can not be read', () => {
  const broken: [string, (text: string) => string | Buffer, string | RegExp][] = [
    ['empty', () => '', /not JSON/],
    ['cut off', (text) => text.slice(0, -30), /not JSON/],
    ['binary', () => Buffer.from([0, 255, 1, 254, 0, 0, 128, 10]), /not JSON/],
    ['of another version', (text) => text.replace('"version":1', '"version":2'), /version/],
    ['of another shape', () => '{"jobs":[]}', /version/],
    ['no object', () => '[1,2]', /journal|expected/i],
    [
      'with a phase that does not exist',
      (text) => text.replace('"before-checkpoint"', '"coffee"'),
      /state\.drain/,
    ],
    ['with an unknown member', (text) => text.replace('"watched"', '"x":1,"watched"'), /state/],
  ];
  it.for(broken)('is set aside when it is %s', async ([, breakIt, reason]) => {
    const { dir, file, text } = await writtenFolder();
    await writeFile(file, breakIt(text));
    const journal = createJournal({ dir, bootId: BOOT });
    const found = await journal.load();
    expect(found).toEqual({
      kind: 'unreadable',
      reason: expect.stringMatching(reason),
      setAside: `${file}.unreadable`,
    });
    expect(await readdir(dir)).toEqual(['journal.json.unreadable']);
    expect(await readFile(`${file}.unreadable`)).toEqual(Buffer.from(breakIt(text)));
    await journal.write(INITIAL_STATE);
    expect(await createJournal({ dir, bootId: BOOT }).load()).toMatchObject({ kind: 'same-boot' });
  });

  it('is set aside unread when it has 100 MB', async () => {
    const { dir, file } = await writtenFolder();
    {
      await using handle = await open(file, 'w');
      await handle.truncate(100 * 1000 ** 2);
    }
    const found = await createJournal({ dir, bootId: BOOT }).load();
    expect(found).toMatchObject({ kind: 'unreadable', reason: expect.stringContaining('16.0 MiB') });
  });

  it('is set aside when it is a folder, or a link to itself', async () => {
    for (const make of [mkdir, (file: string) => symlink(file, file)]) {
      const { dir, file } = await writtenFolder();
      await rm(file);
      await make(file);
      const journal = createJournal({ dir, bootId: BOOT });
      expect(await journal.load()).toMatchObject({ kind: 'unreadable', setAside: `${file}.unreadable` });
      await journal.write(INITIAL_STATE);
    }
  });
});
