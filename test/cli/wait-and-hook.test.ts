import { readFileSync } from 'node:fs';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { PROCESS_TEST_MS, startEvictd } from '../support/evictd-process.ts';
import { type SpotVm, createSpotVm, until } from '../support/spot-vm.ts';

/** A command of the VM that stays. */
function startCommand(vm: SpotVm, name: string, options: readonly string[], command: readonly string[] = []) {
  const config = ['--config', join(vm.folder, 'config.yaml')];
  return startEvictd([name, ...config, ...options, ...(command.length === 0 ? [] : ['--', ...command])]);
}

/** A program that notes its start and its attempt, and waits for the file `go`. */
async function writeProgram(vm: SpotVm): Promise<string> {
  const file = join(vm.folder, 'save');
  const script = `#!/bin/sh
echo "save $EVICTD_ATTEMPT" >> ${vm.folder}/hooks.log
cat
while [ -d ${vm.folder} ] && [ ! -e ${vm.folder}/go ]; do sleep 0.02; done
exit 4
`;
  await writeFile(file, script);
  await chmod(file, 0o755);
  return file;
}

function says(command: { output(): string }, text: string): Promise<void> {
  return until(text, () => command.output().includes(text));
}

/** Of the daemon, by their name. */
function socketsOf(vm: SpotVm): number {
  return readFileSync('/proc/net/unix', 'utf8').split(`${vm.folder}/evictd.sock`).length - 1;
}

describe.concurrent('evictd wait', { timeout: PROCESS_TEST_MS }, () => {
  it('prints the event as soon as it comes, and afterwards at once', async () => {
    await using vm = await createSpotVm();
    await using daemon = await vm.daemon();
    await daemon.line('identified');
    await using waiting = startCommand(vm, 'wait', []);
    const id = vm.preempt();
    expect(await waiting.ended).toMatchObject({ code: 0 });
    const expected = {
      EventId: id,
      EventType: 'Preempt',
      EventStatus: 'Scheduled',
      Resources: [vm.imds.vmName],
    };
    expect(JSON.parse(waiting.output())).toMatchObject({
      ...expected,
      Deadline: expect.stringMatching(/^\d{4}-.*Z$/),
      SecondsLeft: expect.any(Number),
    });
    const again = await vm.command('wait', '--timeout', '10s', '--json');
    expect(again.code).toBe(0);
    expect(JSON.parse(again.output)).toMatchObject({ EventId: id });
  });

  it('ends with 3 when nothing comes in time, with 69 when there is no daemon', async () => {
    await using vm = await createSpotVm();
    expect(await vm.command('wait')).toMatchObject({
      code: 69,
      output: expect.stringMatching(/^evictd: evictd is not running: .*\n {2}→ start it/),
    });
    await using daemon = await vm.daemon();
    await daemon.line('identified');
    expect(await vm.command('wait', '--timeout', '100ms')).toMatchObject({
      code: 3,
      output: 'evictd: no notice within 100 ms',
    });
    expect(await vm.command('wait', '--timeout', 'soon')).toMatchObject({ code: 2 });
  });

  it('goes on over a restart of the daemon', async () => {
    await using vm = await createSpotVm();
    const daemon = await vm.daemon();
    await daemon.line('identified');
    await using waiting = startCommand(vm, 'wait', []);
    // The two listening sockets and the connection; what is asked after it is answered after it.
    await until('a connection', () => socketsOf(vm) > 2);
    expect(await vm.command('status')).toMatchObject({ code: 0 });
    await daemon.kill();
    await says(waiting, 'waiting for it to come back');
    await vm.daemon();
    const id = vm.preempt();
    expect(await waiting.ended).toMatchObject({ code: 0 });
    expect(waiting.output()).toContain(id);
  });
});

const WRONG_OPTIONS: readonly (readonly [string, string, RegExp])[] = [
  ['--stage', 'later', /^evictd: .*--stage.* before-checkpoint/],
  ['--timeout', '9x', /^evictd: timeout: "9x" is not a duration/],
  ['--order', 'first', /^evictd: order: "first" is not a whole number/],
  ['--name', 'a/b', /^evictd: name: has 1 to 64 letters/],
  ['--on', 'Preempt,no type', /^evictd: on\.1: is not an event type/],
];

describe.concurrent('evictd hook', { timeout: PROCESS_TEST_MS }, () => {
  it('runs the command at the notice, and tells how it ended', async () => {
    await using vm = await createSpotVm();
    await using daemon = await vm.daemon();
    await daemon.line('identified');
    const program = await writeProgram(vm);
    await using hook = startCommand(
      vm,
      'hook',
      ['--name', 'trainer', '--timeout', '20s', '--optional'],
      [program],
    );
    await says(hook, 'evictd: registered as registered/trainer');
    const id = vm.preempt();
    await says(hook, `{"EventId":"${id}"`);
    await writeFile(join(vm.folder, 'go'), '');
    expect(await daemon.line('hook-ended', { hook: 'registered/trainer' })).toMatchObject({
      level: 'warn',
      reason: 'exit',
      detail: `${program} ended with exit code 4`,
    });
    await daemon.line('ack-ended', { result: 'accepted' });
    expect(await hook.stop()).toMatchObject({ code: 0 });
    await daemon.line('registered hook is gone');
  });

  it('ends a command that takes too long, and says so in time', async () => {
    await using vm = await createSpotVm();
    await using daemon = await vm.daemon();
    await daemon.line('identified');
    const program = await writeProgram(vm);
    await using hook = startCommand(vm, 'hook', ['--name', 'trainer', '--timeout', '2s'], [program]);
    await says(hook, 'registered as registered/trainer');
    vm.preempt();
    expect(await daemon.line('hook-ended', { hook: 'registered/trainer' })).toMatchObject({
      reason: 'exit',
      detail: `${program} did not end within 2.0 s`,
    });
    await daemon.line('ack-withheld');
  });

  it('does not run it again for a daemon that was killed in the middle of it', async () => {
    await using vm = await createSpotVm();
    const killed = await vm.daemon();
    await killed.line('identified');
    const program = await writeProgram(vm);
    await using hook = startCommand(vm, 'hook', ['--name', 'trainer', '--timeout', '20s'], [program]);
    await says(hook, 'registered as registered/trainer');
    const id = vm.preempt();
    await says(hook, `{"EventId":"${id}"`);
    await killed.kill();
    const daemon = await vm.daemon();
    await says(hook, 'registering again when it is back');
    await daemon.line('hook registered');
    await writeFile(join(vm.folder, 'go'), '');
    expect(await daemon.line('hook-ended', { hook: 'registered/trainer' })).toMatchObject({
      attempt: 2,
      detail: `${program} ended with exit code 4`,
    });
    expect(await readFile(join(vm.folder, 'hooks.log'), 'utf8')).toBe('save 1\n');
  });

  it('says what is wrong with an option', async () => {
    await using vm = await createSpotVm();
    await using daemon = await vm.daemon();
    await daemon.line('identified');
    const outputs = WRONG_OPTIONS.map(async ([option, value, message]) => {
      const { code, output } = await vm.command('hook', option, value, 'true');
      expect(output).toMatch(message);
      expect(code).toBe(2);
    });
    await Promise.all(outputs);
  });

  it('says at once that there is no such program, or no daemon', async () => {
    await using vm = await createSpotVm();
    expect(await vm.command('hook', '/nowhere/save')).toMatchObject({
      code: 2,
      output: expect.stringContaining('"/nowhere/save" is no program that can be executed'),
    });
    expect(await vm.command('hook', 'true')).toMatchObject({ code: 69 });
  });
});
