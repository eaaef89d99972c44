import { execFile } from 'node:child_process';
import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

import { testFolder } from '../support/file-tree.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { writeLauncher } from '../support/packaged-evictd.ts';
import { createSpotVm } from '../support/spot-vm.ts';

test(
  'a daemon starts defined, and signals of habit do not end it in the middle of a drain',
  { timeout: PROCESS_TEST_MS },
  async () => {
    const variables = { NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_DEBUG: 'nothing' };
    await using vm = await createSpotVm({ hooks: [{ name: 'stop', script: 'sleep 1' }], env: variables });
    await using daemon = await vm.daemon();
    for (const name of Object.keys(variables))
      expect(daemon.output()).toContain(`evictd: the variable ${name} is ignored`);
    expect(await readlink(`/proc/${daemon.pid}/cwd`)).toBe('/');
    expect(await readFile(`/proc/${daemon.pid}/status`, 'utf8')).toMatch(/^Umask:\t0022$/m);
    await daemon.line('identified');
    vm.preempt();
    await daemon.line('event-noticed');
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGPIPE'] as const) {
      process.kill(daemon.pid, signal);
    }
    await daemon.line('signal ignored; a new config needs a restart', { signal: 'SIGHUP' });
    await daemon.line('drain-ended', { outcome: 'success' });
    process.kill(daemon.pid, 'SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0, signal: null });
  },
);

test('the launcher starts Node without what somebody else would have it do', async () => {
  await using folder = await testFolder();
  const launcher = join(folder.path, 'evictd');
  await writeLauncher(launcher);
  const env = { PATH: process.env['PATH'], NODE_OPTIONS: '--import=data:text/javascript,process.exit(9)' };
  const { stderr, stdout } = await promisify(execFile)(launcher, ['version'], { env });
  expect({ stderr, stdout }).toEqual({ stderr: '', stdout: expect.stringMatching(/^evictd /) });
});
