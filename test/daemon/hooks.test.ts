import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

import { listProcesses } from '../../src/hooks/process-group.ts';
import { type Azurite, startAzurite } from '../support/azurite.ts';
import { type EvictdProcess, type LogLine, PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { readTree } from '../support/file-tree.ts';
import { type HookScript, type SpotVm, createSpotVm, until } from '../support/spot-vm.ts';

const TIMEOUT_MS = 1000;
/** A drain whose only hook takes its whole time may take this long, on a busy machine. */
const DRAIN_MS_MAX = TIMEOUT_MS + 5000;
/** `hook output` lines about one hook: the runner's own limit, and what it says about what it left out. */
const OUTPUT_LINES_MAX = 2001;

vi.setConfig({ testTimeout: PROCESS_TEST_MS });

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => {
  await azurite?.stop();
});

/** A VM with one required hook called `stop`, and a job that has something to save. */
async function createVm(hook: Partial<HookScript>): Promise<SpotVm> {
  const store = { url: azurite.containerUrl(), auth: { kind: 'azurite' as const } };
  const vm = await createSpotVm({ store, hooks: [{ name: 'stop', timeout: `${TIMEOUT_MS}ms`, ...hook }] });
  await writeFile(join(vm.job, 'state'), 'all of the work\n');
  return vm;
}

/** Drains to the end; checks that it took no longer than it may, and that there is a checkpoint. */
async function drain(vm: SpotVm, daemon: EvictdProcess): Promise<LogLine> {
  vm.preempt();
  const noticed = await daemon.line('event-noticed');
  const ended = await daemon.line('drain-ended');
  expect(Date.parse(ended.time) - Date.parse(noticed.time)).toBeLessThan(DRAIN_MS_MAX);
  await daemon.line('set-ended', { result: 'committed' });
  return ended;
}

function expectNoAck(vm: SpotVm, daemon: EvictdProcess, ended: LogLine): void {
  expect(ended).toMatchObject({ level: 'error', outcome: 'failure' });
  expect(daemon.log.find(({ code }) => code === 'ack-withheld')).toMatchObject({ reason: 'unsuccessful' });
  expect(vm.imds.requests().filter(({ method }) => method === 'POST')).toEqual([]);
}

const BAD_HOOKS = [
  {
    what: 'that ignores SIGTERM',
    hook: { fixture: 'ignore-term' },
    reason: 'timeout',
    words: /stop did not end by itself within 1\.0 s; its process group had to be killed$/,
  },
  {
    what: 'that floods stdout with one endless line',
    hook: { fixture: 'flood' },
    reason: 'timeout',
    words: /stop did not end by itself within 1\.0 s; it ended after SIGTERM$/,
  },
  {
    what: 'that floods stdout with lines',
    hook: { fixture: 'flood-lines' },
    reason: 'timeout',
    words: /stop did not end by itself within 1\.0 s; it ended after SIGTERM$/,
  },
  {
    what: 'that is not executable',
    hook: { fixture: 'exit-with', mode: 0o644 },
    reason: 'refused',
    words: /stop is not executable \(mode 0644, owner uid \d+\): chmod 755 \/.*\/stop$/,
  },
  {
    what: 'that everybody can write',
    hook: { fixture: 'exit-with', mode: 0o777 },
    reason: 'refused',
    words:
      /stop can be written by others than its owner \(mode 0777, owner uid \d+\): chmod go-w \/.*\/stop$/,
  },
] as const;

describe('a required hook', () => {
  test.for(BAD_HOOKS)('$what is ended, reported and costs the ack, not the checkpoint', async (one) => {
    await using vm = await createVm(one.hook);
    const daemon = await vm.daemon();
    const ended = await drain(vm, daemon);
    const told = await daemon.line('hook-ended', { hook: 'stop' });
    expect(told).toMatchObject({ level: 'error', result: 'failed', reason: one.reason, attempt: 1 });
    expect(told['detail']).toMatch(one.words);
    expectNoAck(vm, daemon, ended);
    expect(await vm.restored()).toEqual(await readTree(vm.job));
    const output = daemon.log.filter(({ msg }) => msg === 'hook output');
    expect(output.length).toBeLessThanOrEqual(OUTPUT_LINES_MAX);
    const flood = one.hook.fixture.startsWith('flood');
    expect(output.filter(({ text }) => String(text).includes('output were dropped'))).toHaveLength(
      flood ? 1 : 0,
    );
  });
});

describe('what a hook leaves behind', () => {
  test('in its process group is ended, though it holds the pipe, and the hook has succeeded', async () => {
    await using vm = await createVm({ fixture: 'leave-child' });
    const daemon = await vm.daemon();
    const ended = await drain(vm, daemon);
    expect(ended).toMatchObject({ outcome: 'success' });
    const [first, last] = daemon.log
      .filter(({ msg }) => msg === 'hook output')
      .map(({ text }) => String(text));
    expect(last).toBe('evictd: what the hook left in its process group was ended');
    const child = Number(first?.replace('child ', ''));
    expect(listProcesses().map(({ pid }) => pid)).not.toContain(child);
    expect(vm.imds.acks()).toHaveLength(1);
  });

  test('in a session of its own lives on, and the drain does not wait for the pipe that it holds', async () => {
    await using vm = await createVm({
      script: `setsid sleep 600 & echo "$!" > "$(dirname "$0")/left"`,
    });
    const daemon = await vm.daemon();
    expect(await drain(vm, daemon)).toMatchObject({ outcome: 'success' });
    const left = Number(await readFile(join(vm.folder, 'left'), 'utf8'));
    try {
      expect(listProcesses().map(({ pid }) => pid)).toContain(left);
    } finally {
      process.kill(left, 'SIGKILL');
    }
  });
});

test('all kinds of bad hooks at once, beside a good one: each is told of, and the good one has run', async () => {
  const store = { url: azurite.containerUrl(), auth: { kind: 'azurite' as const } };
  const timeout = `${TIMEOUT_MS}ms`;
  const bad = BAD_HOOKS.map(({ hook }, index) => ({ name: `bad-${index}`, timeout, ...hook }));
  await using vm = await createSpotVm({ store, hooks: [...bad, { name: 'good', order: 60 }] });
  await writeFile(join(vm.job, 'state'), 'all of the work\n');
  const daemon = await vm.daemon();
  expectNoAck(vm, daemon, await drain(vm, daemon));
  const ends = daemon.log.filter(({ code }) => code === 'hook-ended');
  expect(ends.map(({ hook, result }) => `${String(hook)} ${String(result)}`).sort()).toEqual([
    ...bad.map(({ name }) => `${name} failed`),
    'good succeeded',
  ]);
  expect(await vm.hookStarts()).toEqual(['good 1']);
  expect(await vm.restored()).toEqual(await readTree(vm.job));
});

test('a workload that its failed hook did not stop does not cost the checkpoint: each file is whole', async () => {
  await using vm = await createVm({ script: 'echo "can not stop it" >&2; exit 3' });
  // Appends to a log, and replaces a file as a whole, without a pause.
  const loop = `i=0; while :; do i=$((i+1)); echo "line $i" >> log; yes "$i" | head -n 5000 > new; mv new state; done`;
  const workload = spawn('sh', ['-c', loop], { cwd: vm.job, stdio: 'ignore', detached: true });
  const ended = once(workload, 'exit');
  try {
    const log = join(vm.job, 'log');
    await until('work', () => existsSync(log) && readFileSync(log, 'utf8').includes('line 2'));
    const daemon = await vm.daemon();
    const last = await drain(vm, daemon);
    expectNoAck(vm, daemon, last);
    expect((await daemon.line('hook-ended'))['detail']).toMatch(/stop ended with exit code 3$/);
  } finally {
    // Its children too.
    process.kill(-(workload.pid ?? 0), 'SIGKILL');
    await ended;
  }
  await vm.restored();
  const log = await readFile(join(vm.folder, 'restored-1/log'), 'utf8');
  expect((await readFile(join(vm.job, 'log'), 'utf8')).startsWith(log)).toBe(true);
  expect(log).toMatch(/^line 1\n/);
  const lines = (await readFile(join(vm.folder, 'restored-1/state'), 'utf8')).split('\n').slice(0, -1);
  expect(lines).toHaveLength(5000);
  expect(new Set(lines).size).toBe(1);
});
