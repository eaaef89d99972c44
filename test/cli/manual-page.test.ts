import { spawnSync } from 'node:child_process';

import { expect, test } from 'vitest';

import { EXIT } from '../../src/cli/command.ts';
import { manualPage } from '../../src/cli/manual-page.ts';
import { COMMANDS } from '../../src/cli/table.ts';
import { missingPackages } from '../tools/ensure-debian-packages.ts';

const PAGE = manualPage(COMMANDS, { version: '1.2.3', date: '2026-01-31' });

function run(program: string, ...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(program, args, {
    input: PAGE,
    encoding: 'utf8',
    timeout: 15_000,
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C.UTF-8' },
  });
  return { status, stdout, stderr };
}

/** Bold is a letter, a backspace and the letter again. */
function withoutOverstrikes(text: string): string {
  const parts = text.split('\b');
  return parts.map((part, index) => (index === parts.length - 1 ? part : part.slice(0, -1))).join('');
}

const hasMandoc = missingPackages(['mandoc']).length === 0;

test.skipIf(!hasMandoc)('the man page has nothing that mandoc complains about', () => {
  expect(run('mandoc', '-T', 'lint', '-W', 'warning')).toEqual({ status: 0, stdout: '', stderr: '' });
});

test.skipIf(missingPackages(['groff-base']).length > 0)('nor groff', () => {
  const { status, stderr } = run('groff', '-man', '-Tutf8', '-ww', '-z');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

test.skipIf(!hasMandoc)(
  'the man page shows each command, option, example and exit code as it is typed',
  () => {
    const shown = withoutOverstrikes(run('mandoc', '-T', 'utf8').stdout);
    const flat = shown.replaceAll(/\s+/g, ' ');
    expect(shown).toContain('evictd 1.2.3');
    for (const { name, options, manual = '' } of COMMANDS) {
      expect(flat).toContain(`evictd ${name} [options]`);
      for (const option of options) expect(flat).toContain(`--${option.name}`);
      for (const line of manual.split('\n')) expect(shown).toContain(line.trimEnd());
    }
    const statuses = shown.slice(shown.indexOf('EXIT STATUS'), shown.indexOf('FILES'));
    expect(statuses.match(/^ +\d+/gm)?.map(Number)).toEqual(Object.values(EXIT));
  },
);
