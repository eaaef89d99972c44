import { chown, lchown, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { openSetFolder } from '../../../src/checkpoint/scan/set-folder.ts';
import { testFolder } from '../../support/file-tree.ts';

test.runIf(process.getuid?.() === 0)(
  'a link on the way to the set is followed as far as who can change it may read',
  async () => {
    await using field = await testFolder();
    const home = join(field.path, 'home');
    await mkdir(join(home, 'real'), { recursive: true });
    await mkdir(join(field.path, 'secret'));
    await writeFile(join(field.path, 'secret/f'), 'the secret of somebody else');
    await chown(home, 1000, 1000);
    await chown(join(home, 'real'), 1000, 1000);
    const before = await readdir('/proc/self/fd');
    const link = async (name: string, target: string, owner: number) => {
      await symlink(target, join(home, name));
      await lchown(join(home, name), owner, owner);
      return openSetFolder({ name: 'job', path: join(home, name) }).then(
        async (folder) => folder[Symbol.asyncDispose](),
        (error: unknown) => error,
      );
    };
    expect(await link('own', 'real', 1000)).toBeUndefined();
    expect(await link('others', '../secret', 1000)).toMatchObject({ code: 'unsafe-link' });
    expect(await link('absolute', join(field.path, 'secret'), 1000)).toMatchObject({ code: 'unsafe-link' });
    // The folder is theirs, so they can put another one in the place of root's.
    expect(await link('by-root', '../secret', 0)).toMatchObject({ code: 'unsafe-link' });
    expect(await link('chain', 'others', 1000)).toMatchObject({ code: 'unsafe-link' });
    expect(await link('circle', 'circle', 1000)).toMatchObject({ code: 'set-path-missing' });
    expect(await link('nowhere', 'gone', 1000)).toMatchObject({ code: 'set-path-missing' });
    await symlink(join(home, 'real'), join(field.path, 'admin'));
    await (await openSetFolder({ name: 'job', path: join(field.path, 'admin') }))[Symbol.asyncDispose]();
    expect(await readdir('/proc/self/fd')).toHaveLength(before.length);
  },
);
