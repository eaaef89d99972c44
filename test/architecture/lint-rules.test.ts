import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, expect, test } from 'vitest';
import * as z from 'zod';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BIN = join(ROOT, 'node_modules/.bin');

/** Code that each rule has to refuse; the name of the rule is part of what oxlint reports. */
const REFUSED: readonly (readonly [rule: string, code: string])[] = [
  ['max-lines', `export const a = [\n${'  1,\n'.repeat(300)}];\n`],
  [
    'max-lines-per-function',
    `export function a(): number[] {\n  return [\n${'    1,\n'.repeat(70)}  ];\n}\n`,
  ],
  ['no-console', 'console.log(1);\n'],
  ['no-empty', 'export function a(b: () => void): void {\n  try {\n    b();\n  } catch {}\n}\n'],
  ['eqeqeq', 'export const a = (b: unknown) => b == 1;\n'],
  ['no-param-reassign', 'export function a(b: number): number {\n  b = 2;\n  return b;\n}\n'],
  ['no-default-export', 'export default 1;\n'],
  ['filename-case', 'export const a = 1;\n'],
  ['no-explicit-any', 'export const a = (b: any): boolean => b === 1;\n'],
  ['no-non-null-assertion', 'export const a = (b: number | undefined): number => b!;\n'],
  ['no-floating-promises', 'async function a(): Promise<void> {}\na();\n'],
  ['no-misused-promises', 'export const a = (b: Promise<boolean>): number => (b ? 1 : 2);\n'],
  ['await-thenable', 'export async function a(): Promise<number> {\n  return await 1;\n}\n'],
  ['only-throw-error', "export function a(): void {\n  throw 'b';\n}\n"],
  ['no-unsafe-assignment', "export const a: number = JSON.parse('1');\n"],
  ['no-unsafe-return', "export const a = (): number => JSON.parse('1');\n"],
  ['restrict-template-expressions', 'export const a = (b: object): string => `${b}`;\n'],
  [
    'switch-exhaustiveness-check',
    "export function a(b: 'c' | 'd'): void {\n  switch (b) {\n    case 'c':\n      a('d');\n  }\n}\n",
  ],
  [
    'consistent-type-imports',
    "import { Stats } from './types.ts';\nexport const a = (b: Stats): Stats => b;\n",
  ],
];

const Report = z.object({ diagnostics: z.array(z.object({ code: z.string(), filename: z.string() })) });

let folder: string;
let reported: ReadonlyMap<string, readonly { readonly code: string }[]>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-lint-'));
  const tsconfig = {
    compilerOptions: {
      strict: true,
      target: 'es2024',
      module: 'nodenext',
      noEmit: true,
      types: [],
      allowImportingTsExtensions: true,
    },
  };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
  await writeFile(join(folder, 'types.ts'), 'export interface Stats {\n  readonly size: number;\n}\n');
  await writeFile(join(folder, 'clean.ts'), 'export const clean = 1;\n');
  await Promise.all(REFUSED.map(([rule, code]) => writeFile(join(folder, fileOf(rule)), code)));
  const args = ['--type-aware', '-c', join(ROOT, '.oxlintrc.json'), '--format', 'json', '.'];
  const { stdout, stderr } = spawnSync(join(BIN, 'oxlint'), args, {
    cwd: folder,
    env: { ...process.env, PATH: `${BIN}:${process.env['PATH'] ?? ''}` },
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (!stdout.includes('diagnostics')) throw new Error(`oxlint gave no report: ${stdout}${stderr}`);
  const { diagnostics } = Report.parse(JSON.parse(stdout));
  reported = Map.groupBy(diagnostics, ({ filename }) => filename.replace(/^.*\//, ''));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

test.each(REFUSED)('lint refuses what %s is about', (rule) => {
  const codes = (reported.get(fileOf(rule)) ?? []).map(({ code }) => code);
  expect(
    codes.filter((code) => code.endsWith(`(${rule})`)),
    `reported: ${codes.join(', ')}`,
  ).not.toEqual([]);
});

test('lint has nothing against clean code', () => {
  expect(reported.get('clean.ts')).toBeUndefined();
});

function fileOf(rule: string): string {
  return rule === 'filename-case' ? 'wrongCase.ts' : `${rule}.ts`;
}
