import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';

const UNIT = new URL('../../systemd/evictd.service', import.meta.url).pathname;
const README = new URL('../../systemd/README.md', import.meta.url).pathname;

const { missing } = ensureDebianPackages(['systemd']);

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-unit-'));
  await copyFile('/bin/true', join(folder, 'program'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Problems found by systemd itself. It exits with 0 whatever it finds, so what it says counts. */
async function verify(text: string): Promise<string> {
  const path = join(folder, 'evictd.service');
  // The program is only there once the package is installed.
  await writeFile(path, text.replace(/^ExecStart=\S+/m, `ExecStart=${join(folder, 'program')}`));
  const { stderr } = await promisify(execFile)('systemd-analyze', ['verify', '--man=no', path], {
    timeout: 15_000,
  });
  return stderr;
}

test.skipIf(missing.length > 0)('systemd has nothing to say about the unit file', async () => {
  expect(await verify(await readFile(UNIT, 'utf8'))).toBe('');
});

test.skipIf(missing.length > 0)('systemd would say something about a mistake in it', async () => {
  const text = await readFile(UNIT, 'utf8');
  expect(await verify(text.replace('Type=notify', 'Type=notfy'))).toContain('notfy');
  expect(await verify(text.replace('OOMPolicy=', 'OOMPolizy='))).toContain('OOMPolizy');
});

test('the reason for each directive is told', async () => {
  const [unit, readme] = await Promise.all([readFile(UNIT, 'utf8'), readFile(README, 'utf8')]);
  const directives = unit
    .split('\n')
    .filter((line) => line.includes('=') && !line.startsWith('Description='));
  const untold = directives.filter(
    (line) =>
      !readme.includes(`\`${line}\``) && !readme.includes(`\`${line.slice(0, line.indexOf('=') + 1)}\``),
  );
  expect(untold).toEqual([]);
});
