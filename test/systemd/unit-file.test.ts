import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';

const UNITS = ['evictd.service', 'evictd-restore.service', 'evictd.slice', 'evictd-preempt.target'] as const;
/** By systemd's own scale from 0 to 10. */
/** Of `systemd-analyze security`; a restore writes wherever a set is, and gives files their owners. */
const EXPOSURE_MAX = { 'evictd.service': 2.0, 'evictd-restore.service': 2.8 };
const README = new URL('../../systemd/README.md', import.meta.url).pathname;

const { missing } = ensureDebianPackages(['systemd']);

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-unit-'));
  await copyFile('/bin/true', join(folder, 'program'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Problems found by systemd itself. It exits with 0 whatever it finds, so what it says counts. */
async function verify(unit: string, text: string): Promise<string> {
  const path = join(folder, unit);
  // The program is only there once the package is installed.
  await writeFile(path, text.replace(/^ExecStart=\S+/m, `ExecStart=${join(folder, 'program')}`));
  return (await analyze('verify', '--man=no', path)).stderr;
}

function analyze(...args: string[]) {
  return promisify(execFile)('systemd-analyze', args, { timeout: 15_000 });
}

function textOf(unit: string): Promise<string> {
  return readFile(new URL(`../../systemd/${unit}`, import.meta.url), 'utf8');
}

describe.skipIf(missing.length > 0)('systemd', () => {
  test.each(UNITS)('has nothing to say about %s', async (unit) => {
    expect(await verify(unit, await textOf(unit))).toBe('');
  });

  test.each(Object.entries(EXPOSURE_MAX))('finds %s exposed by no more than %d', async (unit, most) => {
    const path = join(folder, unit);
    await writeFile(path, await textOf(unit));
    const { stdout } = await analyze('security', '--offline=yes', '--no-pager', path);
    const score = /Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1];
    console.log(`exposure of ${unit}: ${score}`);
    expect(Number(score)).toBeLessThanOrEqual(most);
  });

  test.each([
    ['evictd.service', 'Type=notify', 'Type=notfy'],
    ['evictd.service', 'OOMPolicy=', 'OOMPolizy='],
    ['evictd-restore.service', 'SuccessExitStatus=3', 'SuccessExitStatus=three'],
  ])('would say something if %s had another line for %s', async (unit, right, wrong) => {
    const text = await textOf(unit);
    expect(text).toContain(right);
    expect(await verify(unit, text.replace(right, wrong))).toContain(
      wrong.replace(/^Type=|^SuccessExitStatus=|=$/g, ''),
    );
  });
});

test.each(['evictd.service', 'evictd-restore.service'])(
  'a core of %s, with tokens, is not kept',
  async (unit) => {
    expect(await textOf(unit)).toMatch(/^LimitCORE=0$/m);
  },
);

test.each(UNITS)('the reason for each directive of %s is told', async (unit) => {
  const readme = await readFile(README, 'utf8');
  const section = readme.split(/^# /m).find((text) => text.startsWith(`Why \`${unit}\``)) ?? '';
  const directives = (await textOf(unit))
    .split('\n')
    .filter((line) => line.includes('=') && !line.startsWith('Description='));
  const untold = directives.filter(
    (line) =>
      !section.includes(`\`${line}\``) && !section.includes(`\`${line.slice(0, line.indexOf('=') + 1)}\``),
  );
  expect(untold).toEqual([]);
});
