import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { unstampedDevices, upperOf } from '../../../src/checkpoint/scan/unstamped-devices.ts';
import { testFolder } from '../../support/file-tree.ts';
import { mount, mountDeadFuse } from './mounts.ts';
import { scan } from './scanners.ts';

async function unstampedIn(root: string): Promise<readonly boolean[]> {
  const { files } = await scan(root);
  const unstamped = await unstampedDevices(root, files);
  return files.map(({ stat }) => unstamped.has(stat.dev));
}

test('a disk stamps, memory does not', async () => {
  await using disk = await testFolder();
  await writeFile(`${disk.path}/f`, '');
  await using memory = await testFolder('/dev/shm');
  await writeFile(`${memory.path}/f`, '');
  // The disk of a developer may be of a kind that nobody vouches for.
  const isExt4 = (await statfs(disk.path)).type === 0xef53;
  expect(await unstampedIn(disk.path)).toEqual([!isExt4]);
  expect(await unstampedIn(memory.path)).toEqual([true]);
});

test('a device that cannot be asked counts as one; a file that is gone is no reason', async () => {
  await using disk = await testFolder();
  for (const name of ['a', 'b', 'c']) await writeFile(`${disk.path}/${name}`, '');
  const { files } = await scan(disk.path);
  const before = await unstampedDevices(disk.path, files);
  await rm(`${disk.path}/a`);
  expect(await unstampedDevices(disk.path, files)).toEqual(before);
  for (const name of ['b', 'c']) await rm(`${disk.path}/${name}`);
  expect(await unstampedDevices(disk.path, files)).toEqual(new Set([files[0]?.stat.dev]));
});

test.for(['plain', 'with, odd: characters \\ é\t'])(
  'an overlay is what its upper layer is: %j',
  async (name, context) => {
    await using disk = await testFolder();
    await using memory = await testFolder('/dev/shm');
    const isDiskUnstamped = (await statfs(disk.path)).type !== 0xef53;
    for (const [place, isUnstamped] of [
      [disk.path, isDiskUnstamped],
      [memory.path, true],
    ] as const) {
      const [upper, work, lower, merged] = [
        `${place}/${name}`,
        `${place}/work`,
        `${disk.path}/lower`,
        `${place}/merged`,
      ];
      for (const folder of [upper, work, lower, merged]) await mkdir(folder, { recursive: true });
      await writeFile(`${lower}/below`, '');
      const escaped = upper.replace(/[\\,:]/g, '\\$&');
      await using mounted = await mount(
        ['-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${escaped},workdir=${work}`],
        merged,
      );
      if (mounted === undefined) return context.skip('needs root and overlayfs');
      await mkdir(`${merged}/d`);
      await writeFile(`${merged}/d/f`, '');
      expect(await unstampedIn(merged)).toEqual([isUnstamped, isUnstamped]);
    }
  },
);

test('an overlay without an upper layer, or with one elsewhere, tells nothing', () => {
  const line = (device: string, options: string) =>
    `44 27 ${device} / /m rw,relatime - overlay overlay ${options}`;
  const lines = [
    line('0:39', 'rw,lowerdir=/low,upperdir=/a\\040b\\134,c,workdir=/wk'),
    line('0:40', 'ro,lowerdir=/low'),
    line('0:41', 'rw,upperdir=relative'),
    '27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
    '28 1 0:300 / /x rw - overlay overlay rw,upperdir=/y',
  ].join('\n');
  expect(upperOf(lines, 39n)?.toString()).toBe('/a b,c');
  for (const dev of [40n, 41n, 42n, 254n << 8n]) expect(upperOf(lines, dev)).toBeUndefined();
  // Minor numbers have more than eight bits: 300 is 0x12c.
  expect(upperOf(lines, (0x1n << 20n) | 0x2cn)?.toString()).toBe('/y');
});

test('FUSE counts as one', async (context) => {
  await using folder = await testFolder();
  await writeFile(`${folder.path}/f`, '');
  const { files } = await scan(folder.path);
  await using mounted = await mountDeadFuse(folder.path);
  if (mounted === undefined) return context.skip('needs root and FUSE');
  expect((await unstampedDevices(folder.path, files)).size).toBe(1);
});
