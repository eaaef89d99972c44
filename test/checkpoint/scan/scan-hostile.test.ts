import { rename, symlink } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { testFolder, writeTree } from '../../support/file-tree.ts';
import { disturbed, pathsOf, scan, scanners } from './scanners.ts';

const SECRET = 'the secret of somebody else';
/** Job numbers from 0: each instant between two looks. More than a scan of the tree below has. */
const INSTANTS = Array.from({ length: 12 }, (_, index) => index);
const DEEP = Array.from({ length: 20 }, (_, index) => `d${index}`).join('/');

test.for([
  ['a', 'without a thread'],
  ['a', 'as a thread does'],
  ['a/b', 'without a thread'],
  ['a/b', 'as a thread does'],
  // Beyond where a way is opened anew.
  [`a/${DEEP}`, 'without a thread'],
  [`a/${DEEP}`, 'as a thread does'],
] as const)(
  'a link is put in place of the folder %s at any instant, looked at %s',
  async ([swapped, how]) => {
    await using field = await testFolder();
    const outside = join(field.path, 'outside');
    const tree = {
      [SECRET]: { kind: 'file', content: SECRET },
      [`b/${SECRET}`]: { kind: 'link', target: SECRET },
    } as const;
    await writeTree(outside, tree);
    await writeTree(join(outside, DEEP), tree);
    const inside = {
      f: { kind: 'file', content: '' },
      'b/f': { kind: 'file', content: '' },
      'b/link': { kind: 'link', target: 'f' },
    } as const;
    for (const instant of [
      ...INSTANTS,
      ...INSTANTS.map((index) => index + 12),
      ...INSTANTS.map((index) => index + 24),
      ...INSTANTS.map((index) => index + 36),
    ]) {
      const path = join(field.path, 'job', String(instant));
      await writeTree(join(path, 'a'), inside);
      await writeTree(join(path, 'a', DEEP), inside);
      let isSwapped = false;
      const swap = async (job: number) => {
        if (job !== instant) return;
        isSwapped = true;
        await rename(join(path, swapped), join(path, 'moved'));
        await symlink(outside, join(path, swapped));
      };
      const found = await scan(path, {}, disturbed(swap, scanners[how]));
      const seen = [...pathsOf(found.files), ...pathsOf(found.directories), ...pathsOf(found.symlinks)];
      expect(seen.filter((other) => other.includes(SECRET))).toEqual([]);
      expect(found.symlinks.every(({ target }) => target !== SECRET)).toBe(true);
      expect(found.lost.size).toBe(0);
      // Either the folder or the link, never the link with what it leads to.
      if (found.symlinks.some((link) => link.path === swapped)) {
        expect(seen.filter((other) => other.startsWith(`${swapped}/`))).toEqual([]);
      }
      if (!isSwapped) break;
    }
  },
);
