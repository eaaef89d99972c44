import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { expect, test } from 'vitest';

import { makeFolder } from '../../../src/base/files/folder.ts';

test('makes all missing parents, and is content with what is there', async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'evictd-folder-'));
  try {
    const folder = path.join(root, 'a/b/c');
    const made = await Promise.all([makeFolder(folder, 0o700), makeFolder(folder, 0o700)]);
    expect(made.toSorted()).toEqual([false, true]);
    expect(await makeFolder(folder, 0o700)).toBe(false);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    await writeFile(path.join(root, 'file'), '');
    await expect(makeFolder(path.join(root, 'file'), 0o700)).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makeFolder(path.join(root, 'file/x'), 0o700)).rejects.toMatchObject({ code: 'ENOTDIR' });
  } finally {
    await rm(root, { recursive: true });
  }
});

test('fails at once where no folder can be made', async () => {
  await expect(makeFolder('/proc/evictd', 0o700)).rejects.toMatchObject({ code: 'ENOENT' });
  await expect(makeFolder('/proc/evictd/deeper', 0o700)).rejects.toMatchObject({ code: 'ENOENT' });
});
