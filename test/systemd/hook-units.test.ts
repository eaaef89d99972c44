import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { NOTE_MESSAGES } from '../../src/daemon/notes.ts';
import { until } from '../support/nspawn.ts';
import { readRules } from '../support/rule-lines.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { type Rig, bootRig } from './rig.ts';

const UNIT = 'evictd.service';
/** What it does depends on the event, so that one start of the daemon serves all drains. */
const DRAIN = `#!/bin/sh
[ "$EVICTD_DRILL" != 1 ] || exec grep -o evictd.slice.* /proc/self/cgroup > /run/drilled
echo "$EVICTD_EVENT_ID $EVICTD_ATTEMPT" >> /run/starts
case $EVICTD_EVENT_ID in
  outside)
    touch /usr/outside-of-the-sandbox || exit 1
    { grep -o evictd.slice.* /proc/self/cgroup; grep NoNewPrivs /proc/self/status; printf '%s\\n' "$@"; cat; } > /run/seen
    echo 'a line of the hook'; echo 'a line to stderr' >&2
    setsid sleep 4001 & ;;
  stubborn) ;;
  *)
    until [ -e "/run/$EVICTD_EVENT_ID.may-end" ]; do sleep 0.05; done ;;
esac
echo "$EVICTD_EVENT_ID" >> /run/ends
`;
const STUBBORN = `#!/bin/sh
trap '' TERM
setsid sh -c 'trap "" TERM; sleep 4002' &
sleep 4002
`;
const CONFIG = `
hooks:
  - name: drain
    run: [/etc/evictd/drain, 'a "b" $HOME $$ %n \\x41', '']
    timeout: 25s
    order: 10
  - { name: stubborn, on: [Terminate], run: [/etc/evictd/stubborn], timeout: 2s }
  - name: as-nobody
    run: [/bin/sh, -c, 'id -un > /run/open/whoami; echo $HOME >> /run/open/whoami']
    user: nobody
  - { name: worker, systemd: { unit: worker.service, action: stop } }
  - { name: tell, systemd: { unit: told.service, action: kill, signal: SIGUSR1 } }
  - { name: web, http: { url: "http://127.0.0.1:8090/drain" } }
  - { name: undo, stage: on-resume, systemd: { unit: worker.service, action: start } }
`;
const UNITS = {
  'worker.service': '[Service]\nExecStart=/bin/sleep 4003\n',
  'told.service': `[Service]
ExecStart=/bin/sh -c 'trap ": > /run/told" USR1; while :; do sleep 0.2; done'
`,
  'contract-succeeds.service': '[Service]\nType=oneshot\nExecStart=/bin/true\n',
  'contract-fails.service': '[Service]\nType=oneshot\nExecStart=/bin/false\n',
  'contract-hangs.service': '[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n',
  'evictd.service.d/stop.conf': '[Service]\nTimeoutStopSec=4s\n',
  'part.service': '[Service]\nType=oneshot\nExecStart=/bin/sh -c "echo >> /run/took-part"\n',
  // The test's own way to write WantedBy=, which needs a link.
  'evictd-preempt.target.d/part.conf': '[Unit]\nWants=part.service\n',
};

const AS_MEMBER = [
  'systemd-run',
  '--quiet',
  '--unit=registered',
  '--uid=nobody',
  '--property=SupplementaryGroups=evictd',
];
/** What an `http` hook tells. */
const RECEIVER = `
require('http').createServer((request, response) => {
  require('fs').appendFileSync('/run/posted', request.headers['content-type']);
  request.resume().on('end', () => response.end());
}).listen(8090, '127.0.0.1')`;

/** The program of the contract, and all that it imports. */
const PROJECT = ['package.json', 'src', 'test'].map((name) => ({
  host: new URL(`../../${name}`, import.meta.url).pathname,
  inside: `/srv/project/${name}`,
}));

const { missing } = ensureDebianPackages(['systemd-container', 'mmdebstrap']);

describe.skipIf(process.getuid?.() !== 0 || missing.length > 0)('hooks as units of a real systemd', () => {
  let rig: Rig;
  beforeAll(async () => {
    const scripts = { drain: DRAIN, stubborn: STUBBORN };
    rig = await bootRig({ config: CONFIG, scripts, units: UNITS, binds: PROJECT });
    await rig.machine.output(['install', '-d', '-o', 'nobody', '/run/open']);
    await rig.machine.output(['systemctl', 'start', 'worker.service', 'told.service']);
    await rig.machine.output(['systemd-run', '--quiet', 'node', '-e', RECEIVER]);
    await rig.machine.output(['systemctl', 'start', UNIT], { timeoutMs: 20_000 });
  }, 240_000);
  afterAll(() => rig?.[Symbol.asyncDispose]());
  afterEach(async ({ task }) => {
    // The machine is gone once the suite has ended, and its journal with it.
    if (task.result?.state === 'fail')
      console.error(await rig.machine.output(['journalctl', '--lines=200', '--no-pager']));
  });

  const sleepers = async (seconds: number) =>
    (await rig.machine.inside(['pgrep', '--full', `^sleep ${seconds}`])).stdout.split('\n').filter(Boolean);
  const hookUnits = async () =>
    (
      await rig.machine.output([
        'systemctl',
        'list-units',
        '--all',
        '--plain',
        '--no-legend',
        'evictd-hook-*',
      ])
    )
      .split('\n')
      .filter(Boolean);
  const starts = (id: string) =>
    rig.lines('/run/starts').then((lines) => lines.filter((line) => line.startsWith(id)));
  const phases = (property: string) => rig.property(UNIT, property);

  test('the control socket is for root and the group evictd', async () => {
    const stat = ['stat', '--format=%U:%G %a', '/run/evictd/evictd.sock'];
    expect((await rig.machine.output(stat)).trim()).toBe('root:evictd 660');
    const statusFor = (groups: string) =>
      rig.machine.inside(['setpriv', '--reuid=nobody', '--regid=nogroup', groups, 'evictd', 'status']);
    expect((await statusFor('--groups=evictd')).stdout).toMatch(/^phase/m);
    const refused = await statusFor('--clear-groups');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/evictd\.sock.*\n.*group evictd/);
  });

  test('run outside of the sandbox, as their user, with all that they are told, and leave nothing', async () => {
    const registered = ['evictd', 'hook', '--name', 'registered', '--', 'touch', '/run/open/registered'];
    await rig.machine.output([...AS_MEMBER, ...registered]);
    await until('the registration', async () => {
      return (await rig.machine.output(['evictd', 'status', '--json'])).includes('registered');
    });
    await rig.announce('outside');
    await rig.logged(NOTE_MESSAGES['event-noticed']);
    await until('the target', async () => {
      return (await rig.property('evictd-preempt.target', 'ActiveState')) === 'active';
    });
    await rig.watchesAgain(1);
    expect(await rig.acks('outside')).toBe(1);

    const [cgroup, privileges, text, event = ''] = await rig.lines('/run/seen');
    expect(cgroup).toMatch(/^evictd\.slice\/evictd-hook-drain-[0-9a-f]{12}\.service$/);
    expect(privileges).toMatch(/NoNewPrivs:\s+0/);
    expect(text).toBe('a "b" $HOME $$ %n \\x41');
    expect(JSON.parse(event)).toMatchObject({ EventId: 'outside', EventType: 'Preempt' });
    expect(await rig.lines('/run/open/whoami')).toEqual(['nobody', '/nonexistent']);
    // Its own session does not help it.
    expect(await sleepers(4001)).toEqual([]);

    const output = (await rig.log()).filter(({ msg }) => msg === 'hook output').map((line) => line['text']);
    const left = 'evictd: what the hook left in its control group was ended';
    expect(output).toEqual(expect.arrayContaining(['a line of the hook', 'a line to stderr', left]));
    expect((await rig.machine.inside(['test', '-e', '/run/took-part'])).code).toBe(0);
    expect((await rig.machine.inside(['test', '-e', '/run/told'])).code).toBe(0);
    expect((await rig.machine.inside(['test', '-e', '/run/open/registered'])).code).toBe(0);
    expect(await rig.lines('/run/posted')).toEqual(['application/cloudevents+json; charset=utf-8']);
    await rig.machine.output(['systemctl', 'stop', 'registered.service']);
    await until('the end of the target', async () => {
      return (await rig.property('evictd-preempt.target', 'ActiveState')) === 'inactive';
    });
    await until('no unit of a hook', async () => (await hookUnits()).length === 0);
    // Stopped by its hook, and started by the one that undoes it.
    expect(await rig.property('worker.service', 'ActiveState')).toBe('active');
    expect(await rig.property('worker.service', 'NRestarts')).toBe('0');
  }, 150_000);

  test('are gone at the timeout with all they started, which is a failure', async () => {
    await rig.announce('stubborn', 'Terminate');
    const ended = await rig.logged(NOTE_MESSAGES['hook-ended'], ({ reason }) => reason === 'timeout');
    expect(ended).toMatchObject({ hook: 'stubborn', result: 'failed' });
    expect(await sleepers(4002)).toEqual([]);
    expect(await rig.acks('stubborn')).toBe(0);
    await rig.withdraw('stubborn');
    await rig.watchesAgain(2);
  }, 150_000);

  test('go on when the daemon is killed, and are taken up by the next: once run, once acknowledged', async () => {
    await rig.announce('killed');
    await until('the hook to run', async () => (await starts('killed')).length === 1);
    await rig.machine.output(['systemctl', 'kill', '--kill-whom=main', '--signal=KILL', UNIT]);
    await rig.logged(NOTE_MESSAGES['drain-resumed']);
    expect(await rig.acks('killed')).toBe(0);
    await rig.machine.output(['touch', '/run/killed.may-end']);
    await rig.watchesAgain(3);
    expect(await starts('killed')).toEqual(['killed 1']);
    expect(await rig.acks('killed')).toBe(1);
  }, 150_000);

  test('that end while there is no daemon have a result all the same', async () => {
    await rig.announce('alone');
    await until('the hook to run', async () => (await starts('alone')).length === 1);
    // Stopped, it can neither see the end nor be started again before it.
    const pid = await rig.property(UNIT, 'MainPID');
    await rig.machine.output(['kill', '-STOP', pid]);
    await rig.machine.output(['touch', '/run/alone.may-end']);
    await until('the end', async () => (await rig.lines('/run/ends')).includes('alone'));
    await rig.machine.output(['kill', '-KILL', pid]);
    await rig.watchesAgain(4);
    expect(await starts('alone')).toEqual(['alone 1']);
    expect(await rig.acks('alone')).toBe(1);
  }, 150_000);

  test('a stop in the middle of a drain lets it finish, hooks and acknowledgement included', async () => {
    await rig.announce('stopped');
    await until('the hook to run', async () => (await starts('stopped')).length === 1);
    await rig.machine.output(['systemctl', 'stop', '--no-block', UNIT]);
    await rig.logged('asked to stop, finishing the drain first');
    // It takes longer than its unit allows.
    await rig.polls(5);
    await rig.machine.output(['touch', '/run/stopped.may-end']);
    await until('the end of the service', async () => (await phases('ActiveState')) === 'inactive');
    expect(await phases('Result')).toBe('success');
    expect(await rig.lines('/run/ends')).toContain('stopped');
    expect(await rig.acks('stopped')).toBe(1);
  }, 150_000);

  test('a rehearsal runs them as units too, outside of its own, and leaves nothing', async () => {
    const before = await hookUnits();
    const drill = await rig.machine.inside(['evictd', 'drill']);
    expect(drill).toMatchObject({ code: 0 });
    expect(drill.stdout).toMatch(/^FITS/m);
    expect(await rig.lines('/run/drilled')).toEqual([expect.stringMatching(/^evictd.slice\/evictd-hook-/)]);
    expect(await hookUnits()).toEqual(before);
    expect(await rig.property('worker.service', 'ActiveState')).toBe('active');
  }, 150_000);

  test('keep the contract of all runners, as do the hooks that act on units', async () => {
    const program = ['node', '/srv/project/test/systemd/hook-contract.ts'];
    const output = await rig.machine.output(program, { timeoutMs: 40_000 });
    const results = readRules(output);
    expect(results.length).toBeGreaterThan(18);
    expect(results.filter((result) => JSON.stringify(result).includes('"error"'))).toEqual([]);
  }, 150_000);

  describe('what the operator has to repair', () => {
    const run = ['/usr/bin/node', '/usr/lib/evictd/evictd.js', 'run'];
    /** Starts the daemon by its unit with other lines and another config. */
    async function start(service: string, config: string): Promise<void> {
      await rig.machine.output(['tee', '/run/broken.yaml'], { stdin: config });
      await rig.machine.output(['install', '-d', '/run/systemd/system/evictd.service.d']);
      const stdin = `[Service]\nExecStart=\nExecStart=${run.join(' ')} --config /run/broken.yaml\n${service}`;
      await rig.machine.output(['tee', '/run/systemd/system/evictd.service.d/broken.conf'], { stdin });
      await rig.machine.output(['systemctl', 'daemon-reload']);
      await rig.machine.inside(['systemctl', 'restart', UNIT], { timeoutMs: 20_000 });
    }
    const statusText = (pattern: RegExp) =>
      until(`the status ${pattern.source}`, async () => pattern.test(await rig.property(UNIT, 'StatusText')));

    test('in the config stands in the status of the failed unit, and at the end of the journal', async () => {
      await start('', 'imds: { pollIntervall: 1s }\n');
      expect(await rig.property(UNIT, 'ActiveState')).toBe('failed');
      await statusText(/broken\.yaml:1:\d+.*pollIntervall.*pollInterval/);
      const own = (await rig.machine.journal(UNIT)).filter(
        ({ SYSLOG_IDENTIFIER }) => SYSLOG_IDENTIFIER === 'evictd',
      );
      expect(own.at(-1)?.MESSAGE).toMatch(/→ .*config/);
    }, 150_000);

    test.each([
      {
        what: 'a missing identity',
        config: 'checkpoint: { store: { url: "https://account.blob.core.windows.net/container" } }',
        status: /^Watching as fleet_2; .*no token for the managed identity.* \(.*az vm identity show.*\)$/,
        message: 'checkpoints can not be stored, trying again',
      },
      {
        what: 'no route to IMDS',
        config: 'imds: { endpoint: "http://169.254.169.253" }',
        status:
          /^BLIND: the metadata service does not answer; .*169\.254\.169\.253.*ENETUNREACH \(check the route to 169.*\)$/,
        message: 'poll failed, continuing',
      },
      {
        what: 'a state folder that it may not write',
        config: 'state: { dir: /srv/state }',
        status: /^Watching as fleet_2; .*\/srv\/state.* \(.*ReadWritePaths=\/srv\/state.*\)$/,
        message: 'not kept, continuing',
      },
    ])(
      '$what: in the status of the running unit, and in the last warning',
      async (row) => {
        // What the service says where no identity is assigned.
        const noIdentity = JSON.stringify({ kind: 'status', status: 400, on: 'token' });
        const faults = 'http://169.254.169.254/mock/faults';
        await rig.machine.output(['curl', '--silent', '--fail', '--data', noIdentity, faults]);
        await start('', row.config);
        expect(await rig.property(UNIT, 'ActiveState')).toBe('active');
        await statusText(row.status);
        const warnings = (await rig.log()).filter(({ priority }) => Number(priority) <= 4);
        expect(warnings.at(-1)).toMatchObject({
          msg: expect.stringContaining(row.message),
          remedy: expect.any(String),
        });
      },
      60_000,
    );
  });
});
