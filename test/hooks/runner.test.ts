import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { LATENESS_MS, failure, hookFolder, rig } from './harness.ts';
import { EVENT } from './request.ts';

test('a hook gets the event on stdin, its variables, its arguments and the root folder', async () => {
  const folder = await hookFolder('describe-itself');
  const hooks = rig([{ name: 'show', run: [join(folder, 'describe-itself'), '--now', 'a b;$HOME'] }]);
  const before = Date.now();
  const result = await hooks.run('show', { attempt: 1, drill: true, timeoutMs: 8000 });
  const after = Date.now();
  expect(result).toMatchObject({ kind: 'succeeded' });

  const given = hooks.texts('stdout');
  expect(given).toContain('cwd=/');
  expect(given).toContain('arguments=--now a b;$HOME');
  expect(given).toContain(`EVICTD_EVENT_ID=${EVENT.id}`);
  expect(given).toContain('EVICTD_EVENT_TYPE=Preempt');
  expect(given).toContain('EVICTD_STAGE=before-checkpoint');
  expect(given).toContain('EVICTD_HOOK=show');
  expect(given).toContain('EVICTD_ATTEMPT=1');
  expect(given).toContain('EVICTD_DRILL=1');
  expect(given).toContain('EVICTD_TIMEOUT_SECONDS=8');
  expect(given).toContain('EVICTD_SECONDS_LEFT=24');
  const deadline = Date.parse(given.find((line) => line.startsWith('EVICTD_DEADLINE='))?.slice(16) ?? '');
  expect(deadline).toBeGreaterThanOrEqual(before + 25_000 - 5);
  expect(deadline).toBeLessThanOrEqual(after + 25_000 + 5);

  const stdin = given.find((line) => line.startsWith('stdin='))?.slice(6) ?? '';
  expect(JSON.parse(stdin)).toEqual({
    EventId: EVENT.id,
    EventType: 'Preempt',
    ResourceType: 'VirtualMachine',
    Resources: ['fleet_2', 'fleet_3'],
    EventStatus: 'Scheduled',
    NotBefore: 'Sat, 19 Sep 2026 18:29:47 GMT',
    Description: 'Virtual machine is going to be evicted',
    EventSource: 'Platform',
    DurationInSeconds: -1,
  });
});

test('without an end of the window there is no deadline, and outside of a drill EVICTD_DRILL is 0', async () => {
  const folder = await hookFolder('describe-itself');
  const hooks = rig([{ name: 'show', run: [join(folder, 'describe-itself')] }]);
  await hooks.run('show', { stage: 'on-resume', windowLeftMs: undefined });
  const names = hooks.texts('stdout').map((line) => line.split('=')[0]);
  expect(names).not.toContain('EVICTD_DEADLINE');
  expect(names).not.toContain('EVICTD_SECONDS_LEFT');
  expect(hooks.texts('stdout')).toContain('EVICTD_DRILL=0');
  expect(hooks.texts('stdout')).toContain('EVICTD_STAGE=on-resume');
});

test('of the daemon\u2019s environment only allowed names reach a hook', async () => {
  const folder = await hookFolder('describe-itself');
  const environment = {
    PATH: process.env['PATH'],
    LANG: 'C.UTF-8',
    LC_TIME: 'C',
    TZ: 'Europe/Berlin',
    AZURE_CLIENT_SECRET: 'hunter2',
    AZURE_STORAGE_CONNECTION_STRING: 'hunter2',
    NOTIFY_SOCKET: '/run/systemd/notify',
    WATCHDOG_USEC: '10000000',
    NODE_OPTIONS: '--title=hunter2',
    EVICTD_CHECKPOINT_STORE_URL: 'https://hunter2',
    EVICTD_DRILL: 'hunter2',
  };
  const hooks = rig([{ name: 'show', run: [join(folder, 'describe-itself')] }], environment);
  await hooks.run('show');
  const given = hooks.texts('stdout');
  expect(given).toEqual(
    expect.arrayContaining(['LANG=C.UTF-8', 'LC_TIME=C', 'TZ=Europe/Berlin', 'EVICTD_DRILL=0']),
  );
  expect(given.join('\n')).not.toMatch(/hunter2|NOTIFY_SOCKET|WATCHDOG|NODE_OPTIONS/);
});

test('an event with NULs and a megabyte of names still reaches a hook, read or not', async () => {
  const folder = await hookFolder('describe-itself', 'exit-with');
  const hooks = rig([
    { name: 'reads', run: [join(folder, 'describe-itself')] },
    { name: 'ignores', run: [join(folder, 'exit-with'), '0'] },
  ]);
  const resources = Array.from({ length: 20_000 }, (_, index) => `a-scale-set-with-a-long-name_${index}`);
  const event = { ...EVENT, id: 'A\0B', resources };
  expect(await hooks.run('ignores', { event })).toMatchObject({ kind: 'succeeded' });
  expect(await hooks.run('reads', { event })).toMatchObject({ kind: 'succeeded' });
  expect(hooks.texts()).toContain('EVICTD_EVENT_ID=AB');
});

test('a bare name is looked up in PATH', async () => {
  const folder = await hookFolder('exit-with');
  const path = `relative:${folder}:/usr/bin:/bin`;
  const hooks = rig([{ name: 'bare', run: ['exit-with', '4'] }], { PATH: path });
  expect(failure(await hooks.run('bare')).detail).toContain('exit code 4');
});

test('without time a hook is not started', async () => {
  const folder = await hookFolder('record-and-wait');
  const hooks = rig([{ name: 'late', run: [join(folder, 'record-and-wait'), folder] }]);
  expect(failure(await hooks.run('late', { timeoutMs: 0 }))).toMatchObject({ reason: 'timeout' });
  await expect(readFile(join(folder, 'attempt-1'))).rejects.toThrow('ENOENT');
});

test('the time of a result is the time it took', async () => {
  const folder = await hookFolder('ignore-term');
  const hooks = rig([{ name: 'slow', run: [join(folder, 'ignore-term')] }]);
  const startedAt = performance.now();
  const result = await hooks.run('slow', { timeoutMs: 400 });
  const tookMs = performance.now() - startedAt;
  expect(result.durationMs).toBeGreaterThanOrEqual(399);
  expect(result.durationMs).toBeLessThanOrEqual(tookMs + 1);
  expect(tookMs).toBeLessThan(400 + LATENESS_MS);
});
