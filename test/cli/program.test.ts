import { describe, expect, test } from 'vitest';

import { AssertionFailed } from '../../src/base/assert.ts';
import { EvictdError } from '../../src/base/errors.ts';
import { type Command, EXIT, type ExitCode, type Invocation } from '../../src/cli/command.ts';
import { reportFailure } from '../../src/cli/failure.ts';
import { runProgram } from '../../src/cli/program.ts';
import { COMMANDS } from '../../src/cli/table.ts';
import { ConfigInvalid } from '../../src/config/problem.ts';
import { capture } from './support.ts';

/** Runs a small table of commands and tells what the called one was given. */
async function runTable(...args: readonly string[]) {
  const calls: { readonly name: string; readonly invocation: Invocation }[] = [];
  const command = (name: string, more: Partial<Command> = {}, code: ExitCode = 0): Command => ({
    name,
    summary: `does ${name}`,
    options: [],
    ...more,
    run: async (invocation) => {
      calls.push({ name, invocation });
      return code;
    },
  });
  const commands = [
    command('run', {
      options: [
        { name: 'dry-run', description: 'only log' },
        { name: 'imds', value: 'URL', description: 'base' },
      ],
    }),
    command('restore', { options: [{ name: 'to', value: 'DIR', description: 'target', required: true }] }, 3),
    command('hook', {
      positionals: [{ name: 'COMMAND', description: 'what to run', required: true, variadic: true }],
    }),
    command('config check'),
    command('config show'),
    command('checkpoints'),
    command('checkpoints prune'),
    command('version'),
  ];
  const out = capture();
  const err = capture();
  const code = await runProgram(commands, args, {
    env: { A: 'b' },
    out,
    err,
    signal: new AbortController().signal,
  });
  return { code, calls, out: out.text(), err: err.text() };
}

describe('a command line', () => {
  test.each(['--version', '-V', 'version'])('%s asks for the version', async (word) => {
    expect(await runTable(word)).toMatchObject({ code: 0, calls: [{ name: 'version' }] });
    expect((await runTable('run', word)).code).toBe(2);
  });

  test('reaches its command with options by their long names', async () => {
    const { calls, code } = await runTable('run', '--dry-run', '--imds', 'http://127.0.0.1:1');
    expect(code).toBe(0);
    expect(calls).toMatchObject([
      {
        name: 'run',
        invocation: { options: { 'dry-run': true, imds: 'http://127.0.0.1:1' }, env: { A: 'b' } },
      },
    ]);
  });

  test('that leaves options out gives undefined', async () => {
    const { calls } = await runTable('run');
    expect(calls[0]?.invocation.options).toEqual({ 'dry-run': undefined, imds: undefined });
  });

  test('gives the exit code of its command', async () => {
    expect((await runTable('restore', '--to', '/x')).code).toBe(3);
  });

  test('reaches commands of two words, and a command that is also a group', async () => {
    expect((await runTable('config', 'check')).calls).toMatchObject([{ name: 'config check' }]);
    expect((await runTable('checkpoints')).calls).toMatchObject([{ name: 'checkpoints' }]);
    expect((await runTable('checkpoints', 'prune')).calls).toMatchObject([{ name: 'checkpoints prune' }]);
  });

  test('passes on what follows --', async () => {
    const { calls } = await runTable('hook', '--', 'sh', '-c', 'exit 1');
    expect(calls[0]?.invocation.positionals).toEqual(['sh', '-c', 'exit 1']);
  });
});

describe('a wrong command line is one line and exit code 2', () => {
  test.each<[args: readonly string[], line: RegExp]>([
    [[], /a command is missing; `evictd --help` lists the commands/],
    [['config'], /a command is missing; `evictd config --help` lists the commands/],
    [['rnu'], /unknown command 'rnu' \(Did you mean run\?\)/],
    [['config', 'chek'], /unknown command 'chek' \(Did you mean check\?\); `evictd config --help`/],
    [['run', '--dryrun'], /unknown option '--dryrun' \(Did you mean --dry-run\?\)/],
    [['run', '--imds'], /'--imds <URL>' argument missing/],
    [['run', 'extra'], /too many arguments/],
    [['restore'], /required option '--to <DIR>' not specified; `evictd restore --help` shows how/],
    [['hook'], /missing required argument 'COMMAND'/],
  ])('%j', async (args, line) => {
    const { code, calls, out, err } = await runTable(...args);
    expect(code).toBe(2);
    expect(calls).toEqual([]);
    expect(out).toBe('');
    expect(err).toMatch(/^evictd: [^\n]+\n$/);
    expect(err).toMatch(line);
  });
});

describe('help', () => {
  test('goes to stdout with exit code 0', async () => {
    const { code, out, err } = await runTable('--help');
    expect(code).toBe(0);
    expect(err).toBe('');
    expect(out).toContain('does restore');
    expect(out).toContain('Exit codes:');
  });

  test('lists each exit code that a command can end with', async () => {
    const listed = (await runTable('--help')).out.split('Exit codes:')[1]?.match(/\d+/g);
    expect(listed).toEqual(Object.values(EXIT).map(String));
  });

  test.each(COMMANDS.map(({ name, options, summary }) => ({ name, options, summary })))(
    'of $name names all its options',
    async ({ name, options, summary }) => {
      const out = capture();
      const surroundings = { env: {}, out, err: capture(), signal: new AbortController().signal };
      expect(await runProgram(COMMANDS, [...name.split(' '), '--help'], surroundings)).toBe(0);
      expect(out.text().toLowerCase()).toContain(summary.slice(0, 40).toLowerCase());
      for (const option of options) expect(out.text()).toContain(`--${option.name}`);
    },
  );
});

describe('a failure', () => {
  test.each<[error: unknown, code: number, text: RegExp]>([
    [
      new EvictdError('network', 'no route', { remedy: 'plug it in' }),
      1,
      /^evictd: no route\n.*plug it in\n$/,
    ],
    [
      new ConfigInvalid([{ origin: 'f:1:2', key: 'a.b', message: '1 is bad', allowed: '2' }]),
      2,
      /\n {2}f:1:2: a\.b: 1 is bad; allowed: 2\n/,
    ],
    [new EvictdError('usage', 'wrong'), 2, /^evictd: wrong\n$/],
    [new EvictdError('no-such-set', 'there is no set "x"'), 2, /no set/],
    [new EvictdError('key-unknown', 'this VM has no tag:job'), 2, /tag:job/],
    [new EvictdError('nothing-found', 'no checkpoint'), 3, /no checkpoint/],
    [new EvictdError('not-running', 'no daemon'), 69, /no daemon/],
    [new AssertionFailed('never'), 70, /bug in evictd: AssertionFailed: never\n +at /],
    ['text', 70, /bug in evictd: text/],
  ])('%s', (error, code, text) => {
    const err = capture();
    expect(reportFailure(error, err)).toBe(code);
    expect(err.text()).toMatch(text);
  });

  test('never shows a secret', () => {
    const err = capture();
    reportFailure(
      new EvictdError('x', 'GET https://a.blob.core.windows.net/c?sv=1&sig=TOPSECRET failed'),
      err,
    );
    reportFailure(new Error('GET https://a.blob.core.windows.net/c?sv=1&sig=TOPSECRET failed'), err);
    expect(err.text()).not.toContain('TOPSECRET');
  });
});
