import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { listHooksDirectory } from '../../src/hooks/hooks-directory.ts';
import { hookFolder, isRoot, rig } from './harness.ts';

test('executables become hooks in the order of their names, the rest is named with its reason', async () => {
  const folder = await hookFolder('exit-with');
  const program = { mode: 0o755 };
  await writeFile(join(folder, '20-second'), '#!/bin/sh\nexit 0\n', program);
  await writeFile(join(folder, '10-first'), '#!/bin/sh\nexit 0\n', program);
  await writeFile(join(folder, 'Third_one'), '#!/bin/sh\nexit 0\n', program);
  await writeFile(join(folder, 'README.md'), 'text');
  await writeFile(join(folder, '10-first~'), '#!/bin/sh\nexit 0\n', program);
  await writeFile(join(folder, 'plain'), 'text', { mode: 0o644 });
  await mkdir(join(folder, 'sub'));
  await symlink(join(folder, 'exit-with'), join(folder, '15-link'));
  await symlink(join(folder, 'gone'), join(folder, 'dangling'));

  const { hooks, ignored } = await listHooksDirectory(folder);
  expect(hooks.map((hook) => hook.name)).toEqual([
    'hooks.d/10-first',
    'hooks.d/15-link',
    'hooks.d/20-second',
    'hooks.d/Third_one',
    'hooks.d/exit-with',
  ]);
  expect(hooks[1]).toMatchObject({
    run: [join(folder, '15-link')],
    stage: 'before-checkpoint',
    timeoutMs: 10_000,
    required: true,
    on: undefined,
  });
  const orders = hooks.map((hook) => hook.order);
  expect(new Set(orders).size).toBe(orders.length);
  expect(orders.toSorted((a, b) => a - b)).toEqual(orders);
  expect(ignored).toEqual([
    { name: '10-first~', why: expect.stringContaining('characters') },
    { name: 'README.md', why: expect.stringContaining('characters') },
    { name: 'dangling', why: expect.stringContaining('link to nothing') },
    { name: 'plain', why: expect.stringContaining('chmod +x') },
    { name: 'sub', why: 'it is a folder' },
  ]);
  expect(await rig(hooks).run('hooks.d/10-first')).toMatchObject({ kind: 'succeeded' });
});

test('a folder that does not exist is empty', async () => {
  const folder = await hookFolder();
  expect(await listHooksDirectory(join(folder, 'none'))).toEqual({ hooks: [], ignored: [] });
});

test('a folder that others can write, or that is none, is an error', async () => {
  const folder = await hookFolder('exit-with');
  await expect(listHooksDirectory(join(folder, 'exit-with'))).rejects.toMatchObject({
    code: 'hooks-directory',
  });
  await chmod(folder, 0o775);
  await expect(listHooksDirectory(folder)).rejects.toMatchObject({
    code: 'hooks-directory',
    message: expect.stringContaining('mode 0775'),
    remedy: `chmod go-w ${folder}`,
  });
});

test.skipIf(!isRoot)('a folder of another user is an error', async () => {
  const folder = await hookFolder();
  await chown(folder, 65534, 0);
  await expect(listHooksDirectory(folder)).rejects.toMatchObject({
    code: 'hooks-directory',
    message: expect.stringContaining('belongs to a user who '),
  });
});
