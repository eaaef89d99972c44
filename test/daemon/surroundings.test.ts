import { readFile, readlink } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { createSpotVm } from '../support/spot-vm.ts';

test(
  'a daemon starts defined, and signals of habit do not end it in the middle of a drain',
  { timeout: PROCESS_TEST_MS },
  async () => {
    const variables = { NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_DEBUG: 'nothing' };
    await using vm = await createSpotVm({ hooks: [{ name: 'stop', script: 'sleep 1' }], env: variables });
    await using daemon = await vm.daemon();
    expect(await daemon.line('variables that would change Node are ignored')).toMatchObject({
      variables: Object.keys(variables),
    });
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
