import { chmod, chown, lchown, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { openToRead, openTrusted } from '../../../src/base/files/trusted.ts';
import { testFolder } from '../../support/file-tree.ts';

const OTHER = 5001;
const FRIEND = 5002;
const isRoot = process.getuid?.() === 0;

/** What is said of the file below `field`, without where that is; `fine` when it can be opened. */
async function judged(field: string, name: string, users: readonly number[] = []): Promise<string> {
  try {
    await using found = await openTrusted(join(field, name), users);
    await using file = await openToRead(found);
    return (await file.readFile('utf8')) === 'right' ? 'fine' : 'another file';
  } catch (error) {
    const { code, message, remedy = '' } = error as { code: string; message: string; remedy?: string };
    return code === 'untrusted-path' ? `${message}: ${remedy}`.replaceAll(`${field}/`, '') : code;
  }
}

async function scene() {
  const field = await testFolder();
  const { path } = field;
  await mkdir(join(path, 'way/own'), { recursive: true });
  await writeFile(join(path, 'way/own/file'), 'right', { mode: 0o644 });
  return { path, at: (name: string) => join(path, name), [Symbol.asyncDispose]: field[Symbol.asyncDispose] };
}

/** Not the owner's own: that one would add nobody. */
const OTHER_GROUP = 5003;

test.runIf(isRoot).for([
  [
    'way/own/file',
    0o664,
    /^way\/own\/file can be written by others .*mode 0664.*: chmod go-w way\/own\/file$/,
  ],
  ['way/own/file', 0o646, /^way\/own\/file can be written by others .*mode 0646/],
  [
    'way/own',
    0o775,
    /^way\/own\/file is in way\/own, which can be written by others .*: chmod go-w way\/own$/,
  ],
  ['way/own', 0o757, /^way\/own\/file is in way\/own, which can be written by others /],
  ['way', 0o777, /^way\/own\/file is in way, which can be written by others .*: chmod go-w way$/],
  ['way', 0o1777, /^fine$/],
  ['way', 0o1775, /^fine$/],
  ['way/own/file', 0o600, /^fine$/],
] as const)('%s of mode %o', async ([name, mode, said]) => {
  await using field = await scene();
  await chown(field.at(name), 0, OTHER_GROUP);
  await chmod(field.at(name), mode);
  expect(await judged(field.path, 'way/own/file')).toMatch(said);
});

test.runIf(isRoot)("the owner's private group adds nobody to a folder, but to a file", async () => {
  await using field = await scene();
  await chmod(field.at('way/own'), 0o775);
  expect(await judged(field.path, 'way/own/file')).toBe('fine');
  await chown(field.at('way/own'), OTHER, OTHER);
  expect(await judged(field.path, 'way/own/file', [OTHER])).toBe('fine');
  expect(await judged(field.path, 'way/own/file')).toMatch(/way\/own, which belongs /);
  await chmod(field.at('way/own/file'), 0o664);
  expect(await judged(field.path, 'way/own/file', [OTHER])).toMatch(/file can be written /);
});

test.runIf(isRoot).for(['way', 'way/own', 'way/own/file'] as const)(
  'who owns %s decides, so it has to be root, us or a user that is named',
  async (name) => {
    await using field = await scene();
    await chown(field.at(name), OTHER, OTHER);
    expect(await judged(field.path, 'way/own/file')).toMatch(
      new RegExp(`${name}(, which)? belongs to a user .*owner uid ${OTHER}\\): chown root ${name}$`),
    );
    expect(await judged(field.path, 'way/own/file', [FRIEND])).toContain(`owner uid ${OTHER}`);
    expect(await judged(field.path, 'way/own/file', [FRIEND, OTHER])).toBe('fine');
  },
);

test.runIf(isRoot)('in a sticky folder each entry has to be of somebody trusted, links too', async () => {
  await using field = await scene();
  await chmod(field.path, 0o1777);
  await symlink('way', field.at('link'));
  expect(await judged(field.path, 'link/own/file')).toBe('fine');
  await lchown(field.at('link'), OTHER, OTHER);
  expect(await judged(field.path, 'link/own/file')).toMatch(
    /is reached through link, which belongs .*: chown -h root link$/,
  );
  await chown(field.at('way'), OTHER, OTHER);
  expect(await judged(field.path, 'way/own/file')).toMatch(/is reached through way, which belongs /);
});

test('each folder that a link leads through is looked at, and the file is named as it is', async () => {
  await using field = await scene();
  await mkdir(field.at('a'));
  await symlink('../way/own', field.at('a/b'));
  await symlink(field.at('a/b/file'), field.at('c'));
  expect(await judged(field.path, 'c')).toBe('fine');
  await chmod(field.at('way/own/file'), 0o666);
  expect(await judged(field.path, 'c')).toMatch(/^c \(way\/own\/file\) can be written /);
  await chmod(field.at('way/own/file'), 0o644);
  await chmod(field.at('a'), 0o777);
  expect(await judged(field.path, 'c')).toMatch(/^c is in a, which can be written /);
  await chmod(field.at('a'), 0o755);
  await chmod(field.at('way'), 0o777);
  expect(await judged(field.path, 'c')).toMatch(/^c is in way, which can be written /);
});

test('what is missing is missing, but not from a folder where others could put it', async () => {
  await using field = await scene();
  expect(await judged(field.path, 'way/gone')).toBe('ENOENT');
  expect(await judged(field.path, 'gone/gone')).toBe('ENOENT');
  expect(await judged(field.path, 'way/own/file/below')).toBe('ENOTDIR');
  await symlink('circle', field.at('circle'));
  expect(await judged(field.path, 'circle')).toBe('ELOOP');
  await chmod(field.at('way'), 0o777);
  expect(await judged(field.path, 'way/gone')).toMatch(/^way\/gone is in way, which can be written /);
});

test('whatever comes of it, nothing stays open', async () => {
  await using field = await scene();
  const before = await readdir('/proc/self/fd');
  for (const name of ['way/own/file', 'way/gone', 'way/own/file/below']) await judged(field.path, name);
  await chmod(field.at('way'), 0o777);
  await judged(field.path, 'way/own/file');
  expect(await readdir('/proc/self/fd')).toHaveLength(before.length);
});
