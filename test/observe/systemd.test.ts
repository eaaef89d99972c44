import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { EvictdError } from '../../src/base/errors.ts';
import { createServiceNotifier } from '../../src/observe/systemd.ts';
import { manualClock } from '../imds/support.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';

const { missing } = ensureDebianPackages(['systemd', 'perl-base']);

let folder = '';
const cleanups: (() => void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'evictd-notify-'));
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  rmSync(folder, { recursive: true, force: true });
});

/** A manager's side: a datagram socket, which Node doesn't have and Perl (part of every Debian) does. */
async function listen() {
  const socket = join(folder, 'notify');
  const program = `use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die; bind(S, sockaddr_un($ARGV[0])) or die;
    $| = 1; print "bound\\n"; while (defined recv(S, my $m, 4096, 0)) { $m =~ s/\\n/|/g; print "$m\\n"; }`;
  const perl = spawn('perl', ['-e', program, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanups.push(() => perl.kill('SIGKILL'));
  const lines = createInterface({ input: perl.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const line = await lines.next();
    return line.done === true ? 'the listener ended' : line.value;
  };
  expect(await next()).toBe('bound');
  // Newer versions of the program ask the manager to answer; that is not what is looked at here.
  const message = async (): Promise<string> => {
    const line = await next();
    return line.startsWith('BARRIER=') ? message() : line;
  };
  setEnv({ NOTIFY_SOCKET: socket });
  return { socket, message };
}

/** The npm package has the environment of the process only. */
function setEnv(values: Record<string, string>): void {
  const before = { ...process.env };
  Object.assign(process.env, values);
  cleanups.push(() => {
    for (const key of Object.keys(values)) {
      if (before[key] === undefined) delete process.env[key];
      else process.env[key] = before[key];
    }
  });
}

/** A program of the same name in front of the real one. */
function replaceProgram(script: string): void {
  const path = join(folder, 'systemd-notify');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  setEnv({ PATH: `${folder}:${process.env['PATH']}`, NOTIFY_SOCKET: join(folder, 'nobody') });
}

function notifier(env: Record<string, string> = {}, clock: Clock = systemClock) {
  const failures: EvictdError[] = [];
  const { PATH, NOTIFY_SOCKET } = process.env;
  const service = createServiceNotifier(
    { env: { PATH, NOTIFY_SOCKET, ...env } },
    { onFailure: (error) => failures.push(error), clock },
  );
  cleanups.push(() => service.stop());
  return { service, failures };
}

test.skipIf(missing.length > 0)(
  'readiness, status, stopping and a longer timeout reach the socket',
  async () => {
    const { message } = await listen();
    const { service, failures } = notifier();
    await service.ready('watching fleet_2');
    expect((await message()).split('|').sort()).toEqual([
      `MAINPID=${process.pid}`,
      'READY=1',
      'STATUS=watching fleet_2',
    ]);
    await service.status('draining');
    expect(await message()).toContain('STATUS=draining');
    await service.extendTimeout(1500);
    expect(await message()).toBe('EXTEND_TIMEOUT_USEC=1500000');
    await service.stopping();
    expect(await message()).toBe('STOPPING=1');
    expect(failures).toEqual([]);
  },
);

test.skipIf(missing.length > 0)(
  'a status is one line and can not bring an assignment of its own',
  async () => {
    const { message } = await listen();
    const { service } = notifier();
    await service.status(`a\nMAINPID=1\0${'x'.repeat(1000)}`);
    const sent = (await message()).split('|');
    expect(sent).not.toContain('MAINPID=1');
    expect(sent.find((line) => line.startsWith('STATUS='))?.length).toBeLessThan(1050);
  },
);

test('of many statuses in a row only the first and the newest are sent, and readiness is not lost among them', async () => {
  const record = join(folder, 'calls');
  replaceProgram(`echo "$@" >> ${record}`);
  const { service } = notifier();
  const told = [service.status('one'), service.ready('two'), service.status('three'), service.status('four')];
  await Promise.all(told);
  const pid = `--pid=${process.pid}`;
  expect(readFileSync(record, 'utf8')).toBe(`${pid} --status=one\n--ready ${pid} --status=four\n`);
});

test.skipIf(missing.length > 0)(
  'the watchdog is pinged at a third of its time, while the daemon is healthy',
  async () => {
    const { message } = await listen();
    const clock = manualClock();
    const { service } = notifier({ WATCHDOG_USEC: '15000000', WATCHDOG_PID: String(process.pid) }, clock);
    let asked = 0;
    let healthy = true;
    const health = { isHealthy: () => ((asked += 1), healthy) };
    expect(service.startWatchdog(health)).toBe(true);
    expect(asked).toBe(1);
    expect(await message()).toBe('WATCHDOG=1');
    await clock.advance(4999);
    expect(asked).toBe(1);
    await clock.advance(1);
    expect(asked).toBe(2);
    expect(await message()).toBe('WATCHDOG=1');
    healthy = false;
    await clock.advance(5000);
    expect(asked).toBe(3);
    await service.stopping();
    expect(await message()).toBe('STOPPING=1');
    service.stop();
    await clock.advance(60_000);
    expect(asked).toBe(3);
  },
);

test('no watchdog is served that is off, unreadable or meant for another process', () => {
  const health = { isHealthy: () => true };
  setEnv({ NOTIFY_SOCKET: join(folder, 'nobody') });
  for (const env of [
    {},
    { WATCHDOG_USEC: '0' },
    { WATCHDOG_USEC: 'x' },
    { WATCHDOG_USEC: '9', WATCHDOG_PID: '1' },
  ]) {
    expect(notifier(env).service.startWatchdog(health)).toBe(false);
  }
});

test('without a notify socket nothing is started and nothing fails', async () => {
  replaceProgram(`touch ${join(folder, 'called')}`);
  const { service, failures } = notifier({ NOTIFY_SOCKET: '', WATCHDOG_USEC: '1000000' });
  await Promise.all([service.ready('x'), service.status('x'), service.stopping(), service.extendTimeout(1)]);
  expect(service.startWatchdog({ isHealthy: () => true })).toBe(false);
  expect(() => readFileSync(join(folder, 'called'))).toThrow('ENOENT');
  expect(failures).toEqual([]);
});

test('a failure is reported once and rejects nothing', async () => {
  replaceProgram('echo "no such socket" >&2; exit 1');
  const { service, failures } = notifier();
  await service.ready('x');
  await service.stopping();
  await service.status('y');
  expect(failures.map(({ code, remedy }) => [code, remedy !== undefined])).toEqual([
    ['systemd-notify', true],
  ]);
});

test('a missing program is such a failure', async () => {
  setEnv({ PATH: folder, NOTIFY_SOCKET: join(folder, 'nobody') });
  const { service, failures } = notifier();
  await service.stopping();
  expect(failures[0]?.cause).toMatchObject({ code: 'ENOENT' });
});

test('a program that hangs is given up after the time limit', async () => {
  replaceProgram('exec sleep 3');
  const clock = manualClock();
  const { service, failures } = notifier({}, clock);
  const told = [service.ready('x'), service.stopping()];
  await clock.advance(6000);
  await Promise.all(told);
  expect(failures[0]?.cause).toBeDefined();
});

test('stopping the notifier ends what is in flight, without a complaint', async () => {
  replaceProgram('exec sleep 3');
  const { service, failures } = notifier();
  const told = [service.extendTimeout(1000), service.status('x')];
  service.stop();
  await Promise.all(told);
  await service.ready('late');
  expect(failures).toEqual([]);
});
