import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';

import fc from 'fast-check';
import { expect, test } from 'vitest';

import { encodePath } from '../../../src/base/files/path-name.ts';
import { matcher } from '../../../src/checkpoint/scan/set-patterns.ts';
import { testFolder } from '../../support/file-tree.ts';

/** What git says of each of the paths (folders end with a slash) in a work tree that has them. */
async function askGit(
  root: string,
  patterns: readonly string[],
  paths: readonly string[],
): Promise<readonly boolean[]> {
  await writeFile(
    `${root}/.git/info/exclude`,
    Buffer.concat(patterns.map((line) => encodePath(`${line}\n`))),
  );
  // Status 1 says that none is ignored; with --non-matching the answer is whole all the same.
  const { stdout } = spawnSync(
    'git',
    ['-c', 'core.ignoreCase=false', 'check-ignore', '--no-index', '-z', '-v', '-n', '--stdin'],
    {
      cwd: root,
      input: Buffer.concat(paths.map((path) => encodePath(`${path.replace(/\/$/, '')}\0`))),
      env: { ...process.env, GIT_CONFIG_NOSYSTEM: '1', HOME: root },
    },
  );
  const fields = stdout.toString('latin1').split('\0');
  expect(fields).toHaveLength(paths.length * 4 + 1);
  // Source, line, pattern and path for each; a pattern with "!" is one that takes back.
  return paths.map((_, index) => {
    const pattern = fields[index * 4 + 2] ?? '';
    return pattern !== '' && !pattern.startsWith('!');
  });
}

async function makeRepository(root: string, paths: readonly string[]): Promise<void> {
  execFileSync('git', ['init', '-q', root]);
  for (const path of paths) {
    const at = encodePath(`${root}/${path}`);
    if (path.endsWith('/')) await mkdir(at);
    else await writeFile(at, '');
  }
}

const NAMES = [
  'a',
  'B',
  'ab',
  '.a',
  'a.b',
  'é',
  'a\nb',
  '\udcff',
  '\udcc3x',
  'a b',
  'a ',
  '#a',
  '!a',
  '[a]',
  'a*',
  'a\\',
  '-',
];
/** Each name as a file and below each of a few folders, which are in each other. */
const FOLDERS = ['d/', 'd/ab/', 'd/ab/é/', 'a.d/', 'a.d/d/'];
const PATHS = [
  ...FOLDERS,
  ...['', ...FOLDERS]
    .flatMap((folder) => NAMES.map((name) => folder + name))
    .filter((path) => !FOLDERS.includes(`${path}/`)),
];

const piece = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...NAMES, 'd', 'a.d') },
  { weight: 4, arbitrary: fc.constantFrom('*', '**', '?', '??', '/', '/', '/**/', '/**', '**/', '***') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '[ab]',
      '[!a]',
      '[^a]',
      '[a-c]',
      '[]a]',
      '[[:alpha:]]',
      '[[:punct:]]',
      '[a',
      '\\',
      '\\a',
      '\\*',
      '[é]',
      '[c-a]',
      '[.-]',
      '[!é]',
    ),
  },
  { weight: 1, arbitrary: fc.constantFrom(' ', '\\ ', '#', '!', '.', '^', '$', '(', ')', '+', '|', '{a,B}') },
);
/**
 * Where git and gitignore(5) differ, and the package keeps to the latter: git compares what is before the first
 * wildcard by itself, and takes `d**`+`/a` (an ordinary asterisk, since `**` isn't a whole name) for `d` and then any
 * folders. And nobody needs to put a backslash before a slash.
 */
function isOdd(line: string): boolean {
  return /[^/*]\*{2,}\//.test(line.replace(/^!/, '')) || line.includes('\\/');
}

const pattern = fc
  .tuple(fc.constantFrom('', '', '', '!', '/', '\\'), fc.array(piece, { minLength: 1, maxLength: 4 }))
  .map(([lead, pieces]) => lead + pieces.join(''))
  .filter((line) => !line.includes('\n') && !isOdd(line));

test('is what git says, for any patterns', async () => {
  await using folder = await testFolder();
  await makeRepository(folder.path, PATHS);
  await fc.assert(
    fc.asyncProperty(fc.array(pattern, { minLength: 1, maxLength: 4 }), async (patterns) => {
      const matches = matcher(patterns);
      const said = await askGit(folder.path, patterns, PATHS);
      expect(PATHS.filter(matches)).toEqual(PATHS.filter((_, index) => said[index]));
    }),
    { numRuns: 300 },
  );
});
