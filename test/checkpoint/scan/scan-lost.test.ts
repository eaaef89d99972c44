import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';

import { describe, expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import type { Scan } from '../../../src/checkpoint/scan/scan.ts';
import type { Scanner } from '../../../src/checkpoint/scan/walk/walk.ts';
import { testFolder, writeTree } from '../../support/file-tree.ts';
import { mount, mountDeadFuse } from './mounts.ts';
import { pathsOf, scan, threadScanner } from './scanners.ts';

/** Answers so for one path, and for what is below it. */
function failing(operation: 'list' | 'look', path: string, errno: string): Scanner {
  const failure = { errno, message: `${errno}: some text, syscall` };
  const isHit = (other: string) => other === path || other.startsWith(`${path}/`);
  return {
    async list(job) {
      const answer = await threadScanner.list(job);
      if (operation !== 'list') return answer;
      return {
        ...answer,
        names: answer.names.map((names, index) => (isHit(job.folders[index] ?? '') ? failure : names)),
      };
    },
    async look(job) {
      const answer = await threadScanner.look(job);
      const { stats } = answer;
      const failures = new Map(answer.failures);
      for (const [index, other] of job.paths.entries()) {
        if (operation !== 'look' || !isHit(other)) continue;
        failures.set(index, failure);
        stats.fill(
          0n,
          (stats.length / job.paths.length) * index,
          (stats.length / job.paths.length) * (index + 1),
        );
      }
      return { ...answer, failures };
    },
  };
}

/** A tree with one entry of each kind between two good files. */
async function makeTree(root: string): Promise<void> {
  await writeTree(root, {
    a: { kind: 'file', content: 'a' },
    'm/folder/inside': { kind: 'file', content: '' },
    'm/file': { kind: 'file', content: '' },
    'z/z': { kind: 'file', content: 'z' },
  });
  await symlink('a', `${root}/m/link`);
  execFileSync('mkfifo', [`${root}/m/pipe`]);
}

const ERRNOS = [
  'EACCES',
  'EPERM',
  'EIO',
  'EAGAIN',
  'ESTALE',
  'ENOTCONN',
  'ELOOP',
  'ENAMETOOLONG',
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'EUCLEAN',
  'ETIMEDOUT',
  'EINVAL',
  'EOVERFLOW',
  'EINTR',
  'ENODEV',
  'EBADMSG',
  'unknown',
];
const CASES = ERRNOS.flatMap((errno) => [
  ...['folder', 'file', 'link', 'pipe'].map((entry) => [errno, 'look', `m/${entry}`] as const),
  [errno, 'list', 'm/folder'] as const,
  [errno, 'list', 'm'] as const,
  [errno, 'look', 'm'] as const,
]);

test.for(CASES)(
  '%s of %s at %s costs that entry, and is told with a remedy',
  async ([errno, operation, path]) => {
    await using folder = await testFolder();
    await makeTree(folder.path);
    const good = await scan(folder.path);
    const found = await scan(folder.path, {}, failing(operation, path, errno));
    expect([...found.lost.keys()]).toEqual([path]);
    const error = found.lost.get(path);
    expect(error).toBeInstanceOf(EvictdError);
    expect(error?.code).toBe(['EACCES', 'EPERM'].includes(errno) ? 'file-unreadable' : 'file-failed');
    expect(error?.message).toContain(JSON.stringify(path));
    expect(error?.message).toContain(errno);
    expect(error?.remedy).not.toBe('');
    const isKept = (other: string) => other !== path && !other.startsWith(`${path}/`);
    const isFolderKept = (other: string) => isKept(other) || (operation === 'list' && other === path);
    expect(pathsOf(found.files)).toEqual(pathsOf(good.files).filter(isKept));
    expect(pathsOf(found.symlinks)).toEqual(pathsOf(good.symlinks).filter(isKept));
    expect(pathsOf(found.directories)).toEqual(pathsOf(good.directories).filter(isFolderKept));
    expect([...found.unlisted]).toEqual(operation === 'list' ? [path] : []);
  },
);

test.for(ERRNOS)('%s of the folder itself costs the set', async (errno) => {
  await using folder = await testFolder();
  await makeTree(folder.path);
  const error = await scan(folder.path, {}, failing('list', '', errno)).catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: ['EACCES', 'EPERM'].includes(errno) ? 'file-unreadable' : 'file-failed',
    message: expect.stringContaining(folder.path),
  });
});

test('a folder that is gone, or a scanner that finds none, is set-path-missing', async () => {
  await using folder = await testFolder();
  for (const scanner of [
    failing('list', '', 'gone'),
    { ...threadScanner, list: async () => ({ kind: 'failed', errno: 'gone', message: '' }) as const },
    { ...threadScanner, look: async () => ({ kind: 'failed', errno: 'gone', message: '' }) as const },
  ]) {
    await writeFile(`${folder.path}/f`, '');
    await expect(scan(folder.path, {}, scanner)).rejects.toMatchObject({ code: 'set-path-missing' });
  }
});

test('what is excluded is not lost, whatever it turns out to be', async () => {
  await using folder = await testFolder();
  await makeTree(folder.path);
  for (const exclude of [['folder'], ['folder/'], ['m/']]) {
    const { lost } = await scan(folder.path, { exclude }, failing('look', 'm/folder', 'ENOTCONN'));
    expect(lost.size).toBe(0);
  }
});

test('what may hold something included is lost, and the folders above it are part of the set', async () => {
  await using folder = await testFolder();
  await makeTree(folder.path);
  const include = ['inside'];
  const looked = await scan(folder.path, { include }, failing('look', 'm/folder', 'EIO'));
  expect([pathsOf(looked.directories), [...looked.lost.keys()]]).toEqual([['m'], ['m/folder']]);
  const listed = await scan(folder.path, { include }, failing('list', 'm/folder', 'EIO'));
  expect([pathsOf(listed.directories), [...listed.lost.keys()]]).toEqual([['m', 'm/folder'], ['m/folder']]);
});

/** As somebody whom permissions hold for. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  const user = process.geteuid?.();
  if (user === 0) process.seteuid?.(65_534);
  try {
    return await work();
  } finally {
    if (user === 0) process.seteuid?.(0);
  }
}

describe('by real means', () => {
  const kept = (found: Scan) => [pathsOf(found.files), [...found.lost.keys()], [...found.unlisted]];

  test('folders that are closed to us', async () => {
    await using folder = await testFolder();
    await writeTree(folder.path, {
      a: { kind: 'file', content: '' },
      'closed/f': { kind: 'file', content: '' },
      // Can be listed, but nothing in it can be looked at.
      'half/f': { kind: 'file', content: '' },
      z: { kind: 'file', content: '' },
    });
    await chmod(folder.path, 0o755);
    await chmod(`${folder.path}/closed`, 0);
    await chmod(`${folder.path}/half`, 0o444);
    const found = await asNobody(() => scan(folder.path));
    expect(kept(found)).toEqual([['a', 'z'], ['closed', 'half/f'], ['closed']]);
    expect(found.lost.get('half/f')).toMatchObject({
      code: 'file-unreadable',
      message: expect.stringContaining('EACCES'),
    });
    await chmod(folder.path, 0);
    await expect(asNobody(() => scan(folder.path))).rejects.toMatchObject({ code: 'file-unreadable' });
    await chmod(folder.path, 0o755);
  });

  test('a FUSE mount whose process has ended', async (context) => {
    await using folder = await testFolder();
    await writeTree(folder.path, { a: { kind: 'file', content: '' }, 'b/mnt': { kind: 'folder' } });
    await using mounted = await mountDeadFuse(`${folder.path}/b/mnt`);
    if (mounted === undefined) return context.skip('needs root and FUSE');
    const found = await scan(folder.path);
    expect(kept(found)).toEqual([['a'], ['b/mnt'], []]);
    expect(found.lost.get('b/mnt')).toMatchObject({
      message: expect.stringContaining('ENOTCONN'),
      remedy: expect.stringContaining('unmount'),
    });
    expect(pathsOf(found.directories)).toEqual(['b']);
    await expect(scan(`${folder.path}/b/mnt`)).rejects.toMatchObject({ code: 'file-failed' });
  });

  test('paths that are too long are named; all above is kept', async () => {
    await using folder = await testFolder();
    const name = 'D'.repeat(200);
    execFileSync(
      'perl',
      ['-e', `for (1..21) { mkdir "${name}"; chdir "${name}" or die; open(F, ">f") or die }`],
      { cwd: folder.path },
    );
    await writeFile(`${folder.path}/precious`, '');
    const found = await scan(folder.path);
    // 20 names of 200 and a slash each are 4,019 bytes.
    expect(found.files).toHaveLength(21);
    expect(found.directories).toHaveLength(20);
    const [[path = '', error] = []] = found.lost;
    expect(found.lost.size).toBe(1);
    expect(path.length).toBe(21 * 201 - 1);
    expect(error).toMatchObject({
      code: 'entry-unfit',
      message: expect.stringContaining('longer than 4095 bytes'),
    });
    execFileSync('rm', ['-rf', `${folder.path}/${name}`]);
  });

  test('times that no checkpoint can hold', async (context) => {
    await using disk = await testFolder();
    // XFS and ext4 end in 2486 and 2446, tmpfs doesn't.
    await using mounted = await mount(['-t', 'tmpfs', 'none'], disk.path);
    if (mounted === undefined) return context.skip('needs root');
    await writeTree(disk.path, {
      'far/f': { kind: 'file', content: '' },
      odd: { kind: 'file', content: '' },
      good: { kind: 'file', content: '' },
    });
    execFileSync('touch', ['-d', '2400-01-01', `${disk.path}/odd`, `${disk.path}/far`]);
    execFileSync('touch', ['-d', '1600-01-01', `${disk.path}/far/f`]);
    const found = await scan(disk.path);
    // What is in the folder is worth more than the folder's own time.
    expect(kept(found)).toEqual([['good'], ['far', 'far/f', 'odd'], []]);
    expect(found.directories).toMatchObject([{ path: 'far', mtimeNs: 2n ** 63n - 1n }]);
    expect(found.lost.get('odd')).toMatchObject({
      code: 'entry-unfit',
      message: expect.stringContaining('its time is 13569465600000000000 ns'),
    });
  });

  test('an owner that no checkpoint can hold is not to be had; the largest that can be is', async (context) => {
    if (process.geteuid?.() !== 0) return context.skip('needs root');
    await using folder = await testFolder();
    await mkdir(`${folder.path}/d`);
    await chown(`${folder.path}/d`, 4_294_967_294, 4_294_967_294);
    expect((await scan(folder.path)).directories).toMatchObject([{ uid: 4_294_967_294, gid: 4_294_967_294 }]);
  });
});
