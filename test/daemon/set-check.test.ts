import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { Config } from '../../src/config/schema.ts';
import { setWarnings } from '../../src/daemon/set-check.ts';
import { isSharedKey } from '../../src/daemon/doctor-azure.ts';
import { testFolder } from '../support/file-tree.ts';

const STORE = { url: 'https://acc.blob.core.windows.net/ckpt' };

async function warningsOf(set: Readonly<Record<string, unknown>>): Promise<readonly string[]> {
  const config = Config.parse({ checkpoint: { store: STORE, sets: [{ name: 'job', ...set }] } });
  return await setWarnings(config, { clock: systemClock });
}

test('a set that would save nothing here is named with the reason', async () => {
  await using field = await testFolder();
  const path = join(field.path, 'set');
  expect(await warningsOf({ path })).toEqual([
    `checkpoint.sets "job": ${path} is not there: nothing can be saved before it is`,
  ]);
  await mkdir(join(path, 'sub'), { recursive: true });
  expect(await warningsOf({ path })).toEqual([`checkpoint.sets "job": ${path} holds no file`]);
  await writeFile(join(path, 'sub/a.txt'), 'a');
  expect(await warningsOf({ path })).toEqual([]);
  expect(await warningsOf({ path, include: ['*.bin'] })).toEqual([
    `checkpoint.sets "job": none of 1 file in ${path} fits include and exclude (patterns as in .gitignore), so nothing is saved`,
  ]);
  expect(await warningsOf({ path, exclude: ['sub'] })).toHaveLength(1);
  expect(await warningsOf({ path, include: ['sub/'] })).toEqual([]);
  await symlink('sub/a.txt', join(path, 'b.bin'));
  expect(await warningsOf({ path, include: ['*.bin'] })).toEqual([]);
  expect(await warningsOf({ path: join(path, 'sub/a.txt') })).toEqual([
    `checkpoint.sets "job": ${join(path, 'sub/a.txt')} is no folder`,
  ]);
});

test('a key is shared in a scale set that nothing in it tells apart', () => {
  const withKey = (key: string) => Config.parse({ checkpoint: { store: STORE, key } });
  expect(isSharedKey(withKey('fleet'), 'set')).toBe(true);
  expect(isSharedKey(withKey('{scaleSet}/a'), 'set')).toBe(true);
  expect(isSharedKey(withKey('fleet'), '')).toBe(false);
  for (const key of ['{vmName}', 'a/{vmId}', '{tag:job}'])
    expect(isSharedKey(withKey(key), 'set')).toBe(false);
  expect(isSharedKey(Config.parse({}), 'set')).toBe(false);
});
