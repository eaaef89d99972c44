import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { bootMachine, until } from '../support/nspawn.ts';
import type { Machine } from '../support/nspawn.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';

const FIXTURE = new URL('../support/notify-service.ts', import.meta.url).pathname;

// `npm test` has installed them before; this is for a run of this file alone.
const { missing } = ensureDebianPackages(['systemd-container', 'mmdebstrap']);

describe.skipIf(process.getuid?.() !== 0 || missing.length > 0)(
  'under a real systemd (needs root and Debian)',
  () => {
    let folder = '';
    let machine: Machine;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'evictd-systemd-'));
      await build({
        entryPoints: [FIXTURE],
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
      machine = await bootMachine([
        { host: process.execPath, inside: '/usr/bin/node' },
        { host: folder, inside: '/srv' },
      ]);
    }, 240_000);

    afterAll(async () => {
      await machine?.stop();
      await rm(folder, { recursive: true, force: true });
    });

    async function property(unit: string, name: string): Promise<string> {
      return (await machine.output(['systemctl', 'show', '--value', `--property=${name}`, unit])).trim();
    }

    test('a service is ready, has a status, is restarted by the watchdog, and gets the time to end that it asks for', async () => {
      const unit = 'notify-test.service';
      await machine.output(['tee', `/run/systemd/system/${unit}`], {
        stdin: [
          '[Service]',
          'Type=notify',
          'NotifyAccess=all',
          'ExecStart=/usr/bin/node /srv/notify-service.mjs',
          'WatchdogSec=2s',
          'WatchdogSignal=SIGKILL',
          'Restart=always',
          'RestartSec=100ms',
          'TimeoutStopSec=1s',
          // Otherwise SIGTERM at the stop also hits the program that just tells systemd about it.
          'KillMode=mixed',
        ].join('\n'),
      });
      await machine.output(['systemctl', 'daemon-reload']);

      // Returns once READY arrived.
      await machine.output(['systemctl', 'start', unit]);
      expect(await property(unit, 'ActiveState')).toBe('active');
      expect(await property(unit, 'StatusText')).toBe('at work');

      const pid = await property(unit, 'MainPID');
      await machine.output(['kill', '-STOP', pid]);
      await until(
        'the restart by the watchdog',
        10_000,
        async () => (await property(unit, 'NRestarts')) === '1',
      );
      await until(
        'the service to be up again',
        10_000,
        async () => (await property(unit, 'ActiveState')) === 'active',
      );
      expect(await property(unit, 'MainPID')).not.toBe(pid);

      await machine.output(['systemctl', 'stop', '--no-block', unit]);
      await until(
        'the status of ending',
        5000,
        async () => (await property(unit, 'StatusText')) === 'ending',
      );
      await until(
        'the service to have ended',
        10_000,
        async () => (await property(unit, 'ActiveState')) === 'inactive',
      );
      expect(await property(unit, 'Result')).toBe('success');

      const lines = (await machine.journal(unit)).flatMap(({ MESSAGE = '', PRIORITY }) =>
        MESSAGE.startsWith('{')
          ? [{ priority: PRIORITY, ...(JSON.parse(MESSAGE) as Record<string, unknown>) }]
          : [],
      );
      const watchdog = { msg: 'ready', watchdog: true, priority: '6' };
      const start = [
        { msg: 'a debug line', priority: '7' },
        { msg: 'a warning', token: '[redacted]', priority: '4' },
        watchdog,
      ];
      expect(lines).toMatchObject([...start, ...start, { msg: 'ended', priority: '6' }]);
    }, 40_000);
  },
);
