import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { until } from '../support/nspawn.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { type Rig, bootRig } from './rig.ts';

const ROOT = new URL('../..', import.meta.url).pathname;

// `npm test` has installed them before; this is for a run of this file alone.
const { missing } = ensureDebianPackages(['systemd-container', 'mmdebstrap']);

describe.skipIf(process.getuid?.() !== 0 || missing.length > 0)('under a real systemd', () => {
  let folder = '';
  let rig: Rig;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evictd-systemd-'));
    await build({
      entryPoints: [join(ROOT, 'test/support/notify-service.ts')],
      outfile: join(folder, 'notify-service.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      // pino and systemd-notify are CommonJS and call `require` for what Node brings.
      banner: {
        js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
      },
      logLevel: 'error',
    });
    rig = await bootRig({ config: '{}', binds: [{ host: folder, inside: '/srv' }] });
  }, 240_000);

  afterEach(async ({ task }) => {
    // The machine is gone once the suite has ended, and its journal with it.
    if (task.result?.state === 'fail')
      console.error(await rig.machine.output(['journalctl', '--lines=200', '--no-pager']));
  });

  afterAll(async () => {
    await rig?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  test('a service is ready, has a status, is restarted by the watchdog, and gets the time to end that it asks for', async () => {
    const unit = 'notify-test.service';
    await rig.machine.output(['tee', `/run/systemd/system/${unit}`], {
      stdin: [
        '[Service]',
        'Type=notify',
        'NotifyAccess=all',
        'ExecStart=/usr/bin/node /srv/notify-service.mjs',
        'WatchdogSec=5s',
        'WatchdogSignal=SIGKILL',
        'Restart=always',
        'RestartSec=100ms',
        'TimeoutStopSec=3s',
        // Otherwise SIGTERM at the stop also hits the program that just tells systemd about it.
        'KillMode=mixed',
      ].join('\n'),
    });
    await rig.machine.output(['systemctl', 'daemon-reload']);

    // Returns once READY arrived.
    await rig.machine.output(['systemctl', 'start', unit]);
    expect(await rig.property(unit, 'ActiveState')).toBe('active');
    expect(await rig.property(unit, 'StatusText')).toBe('at work');

    const pid = await rig.property(unit, 'MainPID');
    await rig.machine.output(['kill', '-STOP', pid]);
    await until('the restart by the watchdog', async () => (await rig.property(unit, 'NRestarts')) === '1');
    await until(
      'the service to be up again',
      async () => (await rig.property(unit, 'ActiveState')) === 'active',
    );
    expect(await rig.property(unit, 'MainPID')).not.toBe(pid);

    await rig.machine.output(['systemctl', 'stop', '--no-block', unit]);
    await until('the status of ending', async () => (await rig.property(unit, 'StatusText')) === 'ending');
    await until(
      'the service to have ended',
      async () => (await rig.property(unit, 'ActiveState')) === 'inactive',
    );
    expect(await rig.property(unit, 'Result')).toBe('success');

    const watchdog = { msg: 'ready', watchdog: true, priority: '6' };
    const start = [
      { msg: 'a debug line', priority: '7' },
      { msg: 'a warning', token: '[redacted]', priority: '4' },
      watchdog,
    ];
    expect(await rig.log(unit)).toMatchObject([...start, ...start, { msg: 'ended', priority: '6' }]);
  }, 150_000);

  test('the daemon stops at once when nothing drains, and its lines are in the journal with their priorities', async () => {
    const unit = 'evictd.service';
    await rig.machine.output(['systemctl', 'start', unit], { timeoutMs: 20_000 });
    expect(await rig.property(unit, 'ActiveState')).toBe('active');
    expect(await rig.property(unit, 'StatusText')).not.toBe('');
    await rig.polls(2);
    await rig.machine.output(['systemctl', 'stop', unit], { timeoutMs: 5000 });
    expect(await rig.property(unit, 'ActiveState')).toBe('inactive');
    expect(await rig.property(unit, 'Result')).toBe('success');

    const entries = (await rig.machine.journal(unit)).filter(({ MESSAGE }) => MESSAGE?.startsWith('{'));
    expect(new Set(entries.map(({ SYSLOG_IDENTIFIER }) => SYSLOG_IDENTIFIER))).toEqual(new Set(['evictd']));
    const priorities: Record<string, string> = { debug: '7', info: '6', warn: '4', error: '3' };
    const lines = await rig.log();
    expect(lines.length).toBeGreaterThan(3);
    expect(lines.filter(({ level, priority }) => priorities[String(level)] !== priority)).toEqual([]);
  }, 150_000);
});
