import { readdir, readFile, rm, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { committed, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { mayMount, smallDisk } from '../support/small-disk.ts';
import { createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;

test.skipIf(!mayMount)(
  'a full disk is named with what is missing, leaves no partial file, and a rerun goes on from there',
  async () => {
    await using from = await testFolder();
    await using disk = await smallDisk(24 * MIB);
    await writeTree(from.path, {
      'a/first': { kind: 'file', content: pattern(9 * MIB, 1) },
      'b/second': { kind: 'file', content: pattern(9 * MIB, 2) },
      replaced: { kind: 'file', content: 'new' },
    });
    const service = createMemoryService();
    await committed(testCheckpointer(service.connect(), from.path));
    await writeFile(`${disk.path}/in-the-way`, pattern(10 * MIB, 3));
    await writeFile(`${disk.path}/replaced`, 'old');

    const failure: unknown = await restoreJob(service.connect(), disk.path).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: 'disk-full',
      message: expect.stringMatching(
        /^no space left while writing ".*": .* free in .*, up to .* still to come$/,
      ),
      remedy: expect.stringContaining('goes on from here'),
    });
    const names = await readdir(disk.path, { recursive: true });
    expect(names.filter((name) => name.includes('.evictd-restore'))).toEqual([]);
    expect(['old', 'new']).toContain(await readFile(`${disk.path}/replaced`, 'utf8'));

    await rm(`${disk.path}/in-the-way`);
    const result = await restoreJob(service.connect(), disk.path);
    expect(result.files).toBe(3);
    expect(await readTree(disk.path)).toEqual(await readTree(from.path));
  },
);
