import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';

import { NOTE_MESSAGES } from '../../src/daemon/notes.ts';
import { bootMachine, until } from '../support/nspawn.ts';
import type { Machine } from '../support/nspawn.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';

const ROOT = new URL('../..', import.meta.url).pathname;

const HOOK = `#!/bin/sh
echo "$EVICTD_EVENT_ID $EVICTD_ATTEMPT" >> /run/hook.calls
until [ -e /run/hook.may-end ]; do sleep 0.05; done
`;
const CONFIG = `
hooks:
  - { name: drain-workers, run: [/etc/evictd/drain-workers], timeout: 25s }
`;

// `npm test` has installed them before; this is for a run of this file alone.
const { missing } = ensureDebianPackages(['systemd-container', 'mmdebstrap']);

describe.skipIf(process.getuid?.() !== 0 || missing.length > 0)('under a real systemd', () => {
  let folder = '';
  let machine: Machine;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evictd-systemd-'));
    await mkdir(join(folder, 'etc'));
    await writeFile(join(folder, 'etc/config.yaml'), CONFIG, { mode: 0o644 });
    await writeFile(join(folder, 'etc/drain-workers'), HOOK, { mode: 0o755 });
    await mkdir(join(folder, 'drop-ins'));
    // The real time would only make the test longer.
    await writeFile(join(folder, 'drop-ins/test.conf'), '[Service]\nWatchdogSec=3s\n');
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
    machine = await bootMachine([
      { host: process.execPath, inside: '/usr/bin/node' },
      { host: process.execPath, inside: '/usr/lib/evictd/node' },
      { host: folder, inside: '/srv' },
      { host: join(folder, 'etc'), inside: '/etc/evictd' },
      { host: join(folder, 'drop-ins'), inside: '/etc/systemd/system/evictd.service.d' },
      { host: join(ROOT, 'dist/evictd.js'), inside: '/usr/lib/evictd/evictd.js' },
      { host: join(ROOT, 'packaging/files/evictd'), inside: '/usr/bin/evictd' },
      { host: join(ROOT, 'systemd/evictd.service'), inside: '/etc/systemd/system/evictd.service' },
    ]);
  }, 240_000);

  afterAll(async () => {
    await machine?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function property(unit: string, name: string): Promise<string> {
    return (await machine.output(['systemctl', 'show', '--value', `--property=${name}`, unit])).trim();
  }

  /** The lines that the program itself wrote, with the priority that journald gave them. */
  async function logLines(unit: string): Promise<Record<string, unknown>[]> {
    return (await machine.journal(unit)).flatMap(({ MESSAGE = '', PRIORITY }) =>
      MESSAGE.startsWith('{')
        ? [{ priority: PRIORITY, ...(JSON.parse(MESSAGE) as Record<string, unknown>) }]
        : [],
    );
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
    await until('the status of ending', 5000, async () => (await property(unit, 'StatusText')) === 'ending');
    await until(
      'the service to have ended',
      10_000,
      async () => (await property(unit, 'ActiveState')) === 'inactive',
    );
    expect(await property(unit, 'Result')).toBe('success');

    const watchdog = { msg: 'ready', watchdog: true, priority: '6' };
    const start = [
      { msg: 'a debug line', priority: '7' },
      { msg: 'a warning', token: '[redacted]', priority: '4' },
      watchdog,
    ];
    expect(await logLines(unit)).toMatchObject([...start, ...start, { msg: 'ended', priority: '6' }]);
  }, 40_000);

  describe('the daemon by its own unit', () => {
    const UNIT = 'evictd.service';
    const MockLog = z.object({
      requests: z.array(z.object({ method: z.string() })),
      acks: z.array(z.object({ eventId: z.string() })),
    });

    async function mock(method: string, path: string, body = ''): Promise<unknown> {
      const program = `const [method, path, body] = process.argv.slice(1);
        const answer = await fetch('http://169.254.169.254/mock/' + path, { method, body: body || null });
        if (!answer.ok) throw new Error(await answer.text());
        console.log(await answer.text());`;
      return JSON.parse(
        await machine.output(['node', '--input-type=module', '-e', program, method, path, body]),
      );
    }
    const mockLog = async () => MockLog.parse(await mock('GET', 'log'));
    const acks = async (id: string) => (await mockLog()).acks.filter(({ eventId }) => eventId === id).length;
    const announce = (id: string) =>
      mock('POST', 'events', JSON.stringify({ id, notBefore: '30s', startedFor: '1s' }));
    const hookCalls = async () =>
      (await machine.inside(['cat', '/run/hook.calls'])).stdout.split('\n').filter(Boolean);

    async function polls(): Promise<void> {
      const before = (await mockLog()).requests.length;
      await until('two more polls', 10_000, async () => (await mockLog()).requests.length >= before + 2);
    }

    async function watchesAgain(times: number): Promise<void> {
      await until('the drain to be over', 20_000, async () => {
        const lines = await logLines(UNIT);
        return lines.filter(({ msg }) => msg === NOTE_MESSAGES['watching-again']).length === times;
      });
    }

    beforeAll(async () => {
      await machine.output(['ip', 'address', 'add', '169.254.169.254/32', 'dev', 'lo']);
      const address = ['--listen', '169.254.169.254:80', '--vm-name', 'fleet_2'];
      await machine.output([
        'systemd-run',
        '--unit=mock-imds',
        'node',
        '/usr/lib/evictd/evictd.js',
        'mock-imds',
        ...address,
      ]);
      await until(
        'the mock to answer',
        10_000,
        async () =>
          (await machine.inside(['node', '-e', 'fetch("http://169.254.169.254/mock/state")'])).code === 0,
      );
      await machine.output(['systemctl', 'start', UNIT], { timeoutMs: 20_000 });
    }, 60_000);

    afterEach(async ({ task }) => {
      // The machine is gone once the suite has ended, and its journal with it.
      if (task.result?.state === 'fail')
        console.error(await machine.output(['journalctl', '--lines=200', '--no-pager']));
    });

    test('is active with a status, and polls', async () => {
      expect(await property(UNIT, 'ActiveState')).toBe('active');
      expect(await property(UNIT, 'StatusText')).not.toBe('');
      await polls();
    });

    test('is killed and started again when it hangs', async () => {
      const pid = await property(UNIT, 'MainPID');
      await machine.output(['kill', '-STOP', pid]);
      await until('the restart', 15_000, async () => (await property(UNIT, 'NRestarts')) === '1');
      await until(
        'the service to be up',
        10_000,
        async () => (await property(UNIT, 'ActiveState')) === 'active',
      );
      expect(await property(UNIT, 'MainPID')).not.toBe(pid);
      await polls();
    }, 40_000);

    test('drains and acknowledges, once', async () => {
      await machine.output(['touch', '/run/hook.may-end']);
      await announce('A');
      await watchesAgain(1);
      expect(await hookCalls()).toEqual(['A 1']);
      expect(await acks('A')).toBe(1);
    }, 40_000);

    test('stops at once when nothing drains, and cleanly', async () => {
      await machine.output(['systemctl', 'stop', UNIT], { timeoutMs: 5000 });
      expect(await property(UNIT, 'ActiveState')).toBe('inactive');
      expect(await property(UNIT, 'Result')).toBe('success');
    });

    test('has its lines in the journal under its name, with their priorities', async () => {
      const entries = (await machine.journal(UNIT)).filter(({ MESSAGE }) => MESSAGE?.startsWith('{'));
      expect(new Set(entries.map(({ SYSLOG_IDENTIFIER }) => SYSLOG_IDENTIFIER))).toEqual(new Set(['evictd']));
      const priorities: Record<string, string> = { debug: '7', info: '6', warn: '4', error: '3' };
      const lines = await logLines(UNIT);
      expect(lines.length).toBeGreaterThan(5);
      expect(lines.filter(({ level, priority }) => priorities[String(level)] !== priority)).toEqual([]);
    });
  });
});
