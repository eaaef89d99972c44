import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { SHELLS, type Shell, completionScript } from '../../src/cli/completion-script.ts';
import { COMMANDS } from '../../src/cli/table.ts';
import { missingPackages } from '../tools/ensure-debian-packages.ts';

const ZSH_DRIVER = fileURLToPath(new URL('../fixtures/completion/offers.zsh', import.meta.url));
const BASH_DRIVER =
  'source "$1"; read -ra COMP_WORDS <<< "$2"; [[ $2 == *" " ]] && COMP_WORDS+=(""); ' +
  'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _evictd; printf "%s\\n" "${COMPREPLY[@]}"';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-completion-'));
  await writeFile(join(folder, 'scenario.yaml'), '');
  for (const shell of SHELLS) await writeFile(join(folder, shell), completionScript(shell, COMMANDS));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What the shell offers at the end of the line. */
async function offers(shell: Shell, line: string): Promise<readonly string[]> {
  const script = join(folder, shell);
  const args: Readonly<Record<Shell, readonly [string, ...string[]]>> = {
    bash: ['bash', '--norc', '-c', BASH_DRIVER, 'bash', script, line],
    zsh: ['zsh', '-f', ZSH_DRIVER, script, line],
    fish: ['fish', '--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', script, line],
  };
  const [program, ...rest] = args[shell];
  const { stdout } = await promisify(execFile)(program, rest, {
    cwd: folder,
    timeout: 15_000,
    env: { PATH: process.env['PATH'] ?? '', HOME: folder, TERM: 'dumb' },
  });
  const lines = stdout.split(/\r?\n/);
  const found =
    shell === 'zsh'
      ? lines.flatMap((text) => /OFFER (.*)/.exec(text)?.[1] ?? [])
      : lines.map((text) => text.split('\t')[0] ?? '').filter((text) => text !== '');
  return [...new Set(found)].toSorted();
}

describe.each(SHELLS)('%s', (shell) => {
  test.skipIf(missingPackages([shell]).length > 0).for<[line: string, expected: readonly string[]]>([
    ['evictd con', ['config']],
    ['evictd config ', ['check', 'reference', 'schema', 'show']],
    ['evictd checkpoints pr', ['prune']],
    ['evictd status --w', ['--watch']],
    ['evictd checkpoints prune --dry', ['--dry-run']],
    ['evictd hook --stage be', ['before-checkpoint']],
    ['evictd completion ', ['bash', 'fish', 'zsh']],
    ['evictd mock-imds --scenario sce', ['scenario.yaml']],
    ['evictd hook --name x -- evictd-no-such-program', []],
    ['evictd restore --at ', []],
  ])('completes %j', async ([line, expected]) => {
    const found = await offers(shell, line);
    // Where nothing else fits, bash and fish show the options that are left.
    expect(found.filter((one) => !one.startsWith('--') || line.includes(' --'))).toEqual(expected);
  });
});

test('each option of each command is offered', async () => {
  for (const { name, options } of COMMANDS) {
    const expected = ['help', ...options.map((option) => option.name)].map((option) => `--${option}`);
    expect(await offers('bash', `evictd ${name} --`)).toEqual(expected.toSorted());
  }
});

test('each command is offered', async () => {
  const words = COMMANDS.map(({ name }) => name.split(' ')[0] ?? '');
  const found = await offers('bash', 'evictd ');
  expect(found.filter((word) => word !== '--help')).toEqual([...new Set(words)].toSorted());
});
