import { spawn, spawnSync } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import * as z from 'zod';

import { DEBIAN_PACKAGES } from './support/debian-packages.ts';
import { ensureDebianPackages } from './tools/ensure-debian-packages.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const REPORT = join(ROOT, '.cache/vitest.json');
const CHECK_TIMEOUT_MS = 300_000;
const TESTS_TIMEOUT_MS = 2_400_000;

/** The counts in vitest's JSON report; files that could not even be loaded count as failed suites only. */
const Report = z.object({
  success: z.boolean(),
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
  testResults: z.array(z.object({ status: z.string(), assertionResults: z.array(z.unknown()) })),
});

/** What `npm audit --json` prints when it got an answer. */
const Audit = z.object({ vulnerabilities: z.record(z.string(), z.unknown()) });

interface Step {
  readonly name: string;
  readonly seconds: number;
  readonly passed: number;
  readonly failed: number;
  readonly remark: string;
}

/** Everything that has to hold: `npm test [-- ARGUMENTS FOR VITEST]`. Ends with `N passed, N failed`. */
async function main(vitestArgs: readonly string[]): Promise<void> {
  const steps = [
    await step('debian packages', debianPackages),
    await step('build', () => check('node', ['packaging/build.ts'])),
    await step('format', () => check('oxfmt', ['--check', '.'])),
    await step('lint', () => check('oxlint', ['--type-aware', '--deny-warnings', '.'])),
    await step('types', () => check('tsc', ['-p', '.'])),
    await step('advisories', advisories),
    await step('demo', () => check('node', ['test/demo/demo.ts'])),
    await step('tests', () => tests(vitestArgs)),
  ];
  const passed = steps.reduce((sum, one) => sum + one.passed, 0);
  const failed = steps.reduce((sum, one) => sum + one.failed, 0);
  console.log('');
  for (const one of steps) {
    const result = one.failed > 0 ? 'FAILED' : 'ok';
    console.log(
      `${one.name.padEnd(16)} ${result.padEnd(7)} ${`${one.seconds.toFixed(1)} s`.padStart(8)}  ${one.remark}`.trimEnd(),
    );
  }
  process.exitCode = failed > 0 ? 1 : 0;
  console.log(`\n${passed} passed, ${failed} failed`);
}

type Outcome = Omit<Step, 'name' | 'seconds'>;

async function step(name: string, run: () => Promise<Outcome>): Promise<Step> {
  console.log(`\n── ${name}`);
  const startedAt = process.hrtime.bigint();
  let outcome: Outcome;
  try {
    outcome = await run();
  } catch (error) {
    console.error(error);
    outcome = { passed: 0, failed: 1, remark: error instanceof Error ? error.message : String(error) };
  }
  return { name, seconds: Number(process.hrtime.bigint() - startedAt) / 1e9, ...outcome };
}

async function debianPackages(): Promise<Outcome> {
  const { installed, missing } = ensureDebianPackages(DEBIAN_PACKAGES);
  const remark = [
    installed.length > 0 ? `installed ${installed.join(', ')}` : '',
    missing.length > 0 ? `missing ${missing.join(', ')}: tests that need them are skipped` : '',
  ];
  return { passed: 1, failed: 0, remark: remark.filter((part) => part !== '').join('; ') };
}

/** Known vulnerabilities of what is in the bundle. Not every registry can be asked, nor is there always one. */
async function advisories(): Promise<Outcome> {
  const args = ['audit', '--omit=dev', '--json', '--fetch-retries=0', '--fetch-timeout=10000'];
  const { stdout } = spawnSync('npm', args, { cwd: ROOT, encoding: 'utf8', timeout: CHECK_TIMEOUT_MS });
  const audit = Audit.safeParse(parseJson(stdout)).data;
  if (audit === undefined) return { passed: 1, failed: 0, remark: 'skipped: the registry tells of none' };
  const names = Object.keys(audit.vulnerabilities);
  if (names.length === 0) return { passed: 1, failed: 0, remark: '' };
  return {
    passed: 0,
    failed: 1,
    remark: `known vulnerabilities in ${names.join(', ')}: npm audit --omit=dev`,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function check(program: string, args: readonly string[]): Promise<Outcome> {
  const end = await run(program, args, CHECK_TIMEOUT_MS);
  return end === 'exit code 0' ? { passed: 1, failed: 0, remark: '' } : { passed: 0, failed: 1, remark: end };
}

async function tests(args: readonly string[]): Promise<Outcome> {
  await mkdir(join(ROOT, '.cache'), { recursive: true });
  // A report of an earlier run must not speak for one that ended before it wrote its own.
  await rm(REPORT, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${REPORT}`];
  const end = await run(
    'vitest',
    ['run', '--config', 'test/vitest.config.ts', ...reporters, ...args],
    TESTS_TIMEOUT_MS,
  );
  const report = Report.parse(JSON.parse(await readFile(REPORT, 'utf8')));
  const brokenFiles = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  );
  const passed = report.numPassedTests;
  const failed = report.numFailedTests + brokenFiles.length;
  const skipped = report.numPendingTests + report.numTodoTests;
  const remark = `${passed} passed, ${failed} failed, ${skipped} skipped in ${report.testResults.length} files`;
  if (passed + failed === 0) return { passed, failed: 1, remark: 'no test ran' };
  // An error outside of every test, for example an unhandled rejection.
  if (failed === 0 && end !== 'exit code 0')
    return { passed, failed: 1, remark: `${remark}, but vitest ended with ${end}` };
  return { passed, failed, remark };
}

/** Runs a program of the project with its output on ours; answers how it ended. */
function run(program: string, args: readonly string[], timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    // The project's own Node and tools, also when this was not started by npm.
    const path = [join(ROOT, 'node_modules/.bin'), process.env['PATH'] ?? ''].join(delimiter);
    const child = spawn(program, args, {
      cwd: ROOT,
      env: { ...process.env, PATH: path },
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
  });
}

await main(process.argv.slice(2));
