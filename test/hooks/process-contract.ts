import assert from 'node:assert/strict';
import { access, chmod, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { systemClock } from '../../src/base/clock.ts';
import { EvictdError } from '../../src/base/errors.ts';
import { DAEMON_ENDS } from '../../src/core/ports.ts';
import { DEFAULT_OUTPUT_LIMITS } from '../../src/hooks/output.ts';
import { type CommandHook, type HookOutputLine, createHookRunner } from '../../src/hooks/runner.ts';
import { EVENT } from './request.ts';
import { type RunnerRule, assertFailed, runIn, runnerRules } from './runner-contract.ts';

const HOOKS = [
  { name: 'succeeds', run: ['/bin/true'] },
  { name: 'fails', run: ['/bin/sh', '-c', 'exit 3'] },
  { name: 'hangs', run: ['/bin/sleep', '600'] },
];
const ENVIRONMENT = { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', AZURE_CLIENT_SECRET: 'hunter2' };
const UNTIL_MS = 10_000;
/** More than a busy machine takes. */
const GRACE_MS = 8000;

/** What the runner of programs does, as child processes and as units. */
export function processRules(asUnits: boolean): readonly RunnerRule[] {
  const rules: RunnerRule[] = [...runnerRules(openRunner(asUnits, HOOKS).runner)];
  const rule = (title: string, run: (folder: string) => Promise<void>) =>
    void rules.push({
      title,
      async run() {
        const folder = await mkdtemp(join(tmpdir(), 'evictd-hook-contract-'));
        try {
          await run(folder);
        } finally {
          await rm(folder, { recursive: true, force: true });
        }
      },
    });
  /** A runner with one hook, `hook`, that is a shell script. */
  const scripted = (script: string, more: Partial<CommandHook> = {}, ...args: string[]) =>
    openRunner(asUnits, [{ name: 'hook', run: ['/bin/sh', '-c', script, 'sh', ...args], ...more }]);
  // A session of its own is a way out for a child, by rule, and none for a unit.
  const detached = asUnits ? 'setsid ' : '';

  rule('an exit code and a signal are told apart', async () => {
    for (const [script, reason, detail] of [
      ['exit 3', 'exit', /exit code 3$/],
      ['exit 127', 'exit', /not found/],
      ['kill -SEGV $$', 'signal', /SIGSEGV/],
      ['kill -TERM $$', 'signal', /SIGTERM/],
    ] as const) {
      assertFailed(await runIn(scripted(script).runner, 'hook'), reason, detail);
    }
  });

  rule('it gets the event on stdin, its arguments and its variables, and no secret', async () => {
    const script = 'echo "$EVICTD_STAGE $EVICTD_ATTEMPT $EVICTD_DRILL $1 [$AZURE_CLIENT_SECRET] $(pwd)"; cat';
    const { runner, line } = scripted(script, {}, 'a b;$HOME %n');
    assert.equal((await runIn(runner, 'hook', { attempt: 2, drill: true })).kind, 'succeeded');
    assert.equal((await line('before-')).text, 'before-checkpoint 2 1 a b;$HOME %n [] /');
    // JSON of a known event; another one fails the comparison.
    const event = JSON.parse((await line('EventId')).text) as { EventId: string };
    assert.equal(event.EventId, EVENT.id);
  });

  if (process.geteuid?.() === 0) {
    rule('it runs as its user', async () => {
      const { runner, line } = scripted('echo "ids $(id -u) $(id -G)"', { user: 'nobody' });
      assert.equal((await runIn(runner, 'hook')).kind, 'succeeded');
      assert.equal((await line('ids')).text, 'ids 65534 65534');
    });
  }

  rule('at the abort it has its grace', async () => {
    const seconds = `4710.${process.pid}`;
    const script = `trap "echo stopped; exit 0" TERM; sleep ${seconds} & wait`;
    const hook = { name: 'hook', run: ['/bin/sh', '-c', script] };
    const { runner, line } = openRunner(asUnits, [hook], GRACE_MS);
    const controller = new AbortController();
    const cancelled = runIn(runner, 'hook', { timeoutMs: 60_000 }, controller.signal);
    // Until it is the sleeper, a child of the shell still has its trap, and outlives the signal.
    await until('the sleeper', async () => (await processesWith(seconds)).length === 1);
    controller.abort();
    assertFailed(await cancelled, 'cancelled', /after SIGTERM/);
    await line('stopped');
  });

  rule('what ignores SIGTERM is killed, with all that it started', async (folder) => {
    const seconds = `4711.${process.pid}`;
    const script = `trap '' TERM; ${detached}sleep ${seconds} & touch "$1"; while :; do sleep ${seconds}; done`;
    const { runner } = scripted(script, {}, join(folder, 'started'));
    assertFailed(await runIn(runner, 'hook', { timeoutMs: 1500 }), 'timeout', /had to be killed/);
    await access(join(folder, 'started'));
    assert.deepEqual(await processesWith(seconds), []);
    const controller = new AbortController();
    const cancelled = runIn(runner, 'hook', { timeoutMs: 60_000 }, controller.signal);
    await until('two sleepers', async () => (await processesWith(seconds)).length === 2);
    controller.abort();
    assertFailed(await cancelled, 'cancelled', /had to be killed/);
    assert.deepEqual(await processesWith(seconds), []);
  });

  rule('what it leaves behind does not hold the result, and is ended', async () => {
    const seconds = `4712.${process.pid}`;
    const { runner, line } = scripted(`${detached}sleep ${seconds} & exit 0`);
    const result = await runIn(runner, 'hook');
    assert.equal(result.kind, 'succeeded');
    assert.ok(result.durationMs < 5000, `${result.durationMs} ms`);
    await until('the end of the sleeper', async () => (await processesWith(seconds)).length === 0);
    assert.match((await line('evictd: ')).text, /left .* was ended/);
  });

  rule('what it writes is bounded, and said to be', async () => {
    const { runner, lines, line } = scripted('yes a-line | head -n 5000');
    assert.equal((await runIn(runner, 'hook')).kind, 'succeeded');
    await line('a-line');
    await until('all lines', async () => !asUnits || lines.length >= 400);
    assert.ok(lines.length <= DEFAULT_OUTPUT_LIMITS.linesMax + 1, `${lines.length} lines`);
  });

  rule('lines of several at once are those of their hook', async () => {
    const names = ['one', 'two', 'three'];
    const hooks = names.map((name) => ({ name, run: ['/bin/sh', '-c', `echo "I am ${name}"`] }));
    const { runner, line } = openRunner(asUnits, hooks);
    await Promise.all(names.map((name) => runIn(runner, name)));
    for (const name of names) assert.equal((await line(`I am ${name}`)).hook, name);
  });

  rule('what is missing or may not be run is not started', async (folder) => {
    const file = join(folder, 'file');
    await writeFile(file, '#!/bin/sh\nexit 0\n');
    const { runner } = openRunner(asUnits, [
      { name: 'missing', run: ['/no/such/program'] },
      { name: 'empty', run: [] },
      { name: 'file', run: [file] },
      { name: 'user', run: ['/bin/true'], user: 'no-such-user-of-evictd' },
    ]);
    assertFailed(await runIn(runner, 'missing'), 'spawn', /does not exist/);
    assertFailed(await runIn(runner, 'empty'), 'refused');
    assertFailed(await runIn(runner, 'file'), 'refused', /not executable.*chmod 755/);
    await chmod(file, 0o777);
    assertFailed(await runIn(runner, 'file'), 'refused', /chmod go-w/);
    assertFailed(await runIn(runner, 'user'), 'refused', /no-such-user-of-evictd/);
  });

  if (asUnits) {
    rule('when the daemon ends it goes on, and the next daemon takes it up: once run', async (folder) => {
      const script = 'echo started >> "$1/starts"; until [ -e "$1/may-end" ]; do sleep 0.05; done';
      const drain = { drainId: `taken-up@${process.pid}` };
      const starts = () => readFile(join(folder, 'starts'), 'utf8').catch(() => '');
      const ending = new AbortController();
      const first = runIn(scripted(script, {}, folder).runner, 'hook', drain, ending.signal);
      await until('its start', async () => (await starts()) !== '');
      ending.abort(new EvictdError(DAEMON_ENDS, 'the daemon ends'));
      assertFailed(await first, 'cancelled');
      const second = runIn(scripted(script, {}, folder).runner, 'hook', { ...drain, attempt: 2 });
      await writeFile(join(folder, 'may-end'), '');
      assert.equal((await second).kind, 'succeeded');
      assert.equal(await starts(), 'started\n');
    });
  }
  return rules;
}

/** A runner as a daemon has it that has just started. */
function openRunner(asUnits: boolean, hooks: readonly CommandHook[], killGraceMs = 1000) {
  const lines: HookOutputLine[] = [];
  const onOutput = (line: HookOutputLine) => void lines.push(line);
  const dependencies = { clock: systemClock, onOutput, environment: ENVIRONMENT };
  const find = (text: string) => lines.find((line) => line.text.includes(text));
  return {
    runner: createHookRunner({ hooks, asUnits, killGraceMs }, dependencies),
    lines,
    /** That of a unit comes after its result. */
    line: (text: string) => until(`a line with ${text}`, async () => find(text)),
  };
}

async function until<T>(what: string, ask: () => Promise<T | false | undefined>): Promise<T> {
  const endsAt = performance.now() + UNTIL_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > endsAt) throw new Error(`no ${what} within ${UNTIL_MS} ms`);
    await delay(10);
  }
}

/** Process ids of those that have `text` for an argument. */
async function processesWith(text: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (command.split('\0').includes(text)) found.push(pid);
  }
  return found;
}
