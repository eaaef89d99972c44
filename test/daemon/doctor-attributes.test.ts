import { mkdir, writeFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { checkAttributes } from '../../src/daemon/doctor-attributes.ts';
import { testFolder } from '../support/file-tree.ts';
import { soon } from './support.ts';

/** As setfattr(1) does; false where the file system has no such attributes. */
function setAttribute(path: string, name: string): boolean {
  const { functions } = process.getBuiltinModule('node:ffi').dlopen(null, {
    lsetxattr: { arguments: ['pointer', 'pointer', 'pointer', 'uint64', 'int32'], return: 'int32' },
  });
  return functions.lsetxattr(path, name, Buffer.from('x'), 1n, 0) === 0;
}

describe.skipIf(!isBuiltin('node:ffi'))('what checkpoints do not keep', () => {
  test('is counted, with its names', async ({ skip }) => {
    await using folder = await testFolder();
    await mkdir(join(folder.path, 'd'));
    for (const name of ['plain', 'a', 'd/b']) await writeFile(join(folder.path, name), '');
    expect(await checkAttributes('job', folder.path, soon())).toEqual([]);
    if (!setAttribute(join(folder.path, 'a'), 'user.origin')) skip();
    setAttribute(join(folder.path, 'd'), 'user.checksum');
    setAttribute(join(folder.path, 'd/b'), 'user.origin');
    expect(await checkAttributes('job', folder.path, soon())).toEqual([
      {
        state: 'warn',
        text: `set job: 3 names in ${folder.path} with user.checksum and 1 other: checkpoints keep no extended attributes, ACLs and capabilities`,
        remedy: expect.stringContaining('after a restore'),
      },
    ]);
  });

  test('is not looked for without end', async () => {
    await using folder = await testFolder();
    const abort = new AbortController();
    abort.abort(new Error('enough'));
    await expect(checkAttributes('job', folder.path, abort.signal)).rejects.toThrow('enough');
  });
});
