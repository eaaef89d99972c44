import { chmod, stat } from 'node:fs/promises';

import { describe, expect, it } from 'vitest';

import { createMachine } from '../support/daemon.ts';
import { runEvictd, startEvictd } from '../support/evictd-process.ts';
import { isMessage, isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { stopHook } from './support.ts';

const NOWHERE = 'http://127.0.0.1:9';

describe.concurrent('a second daemon on the same VM', () => {
  it('is refused with exit code 1 and a reason, before it touches the drain of the first', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const config = stopHook(await machine.hook('stop', 'until_ go'));
    await using daemon = await machine.start({ imds: imds.url, config });
    imds.addEvent();
    await daemon.waitForLog(isNote('event-noticed'));
    const second = (env: Readonly<Record<string, string>>) =>
      runEvictd(['run', '--config', machine.configFile], { env });
    const sameState = await second({ EVICTD_CONTROL_SOCKET: `${machine.folder}/other.sock` });
    const sameSocket = await second({ EVICTD_STATE_DIR: `${machine.folder}/other` });
    expect([sameState.code, sameSocket.code]).toEqual([1, 1]);
    expect(sameState.output).toContain(`another evictd uses the state.dir ${machine.stateDir}`);
    expect(sameSocket.output).toContain(`another evictd answers on ${machine.socket}`);
    for (const { output } of [sameState, sameSocket]) {
      expect(output).toContain('→ stop it first');
      expect(output).not.toContain('drain-resumed');
    }
    await machine.release('go');
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    expect(await machine.hookLog()).toHaveLength(2);
    expect(imds.acks()).toHaveLength(1);
  });
});

describe.concurrent('evictd run with a config that is wrong ends with 2 and says where, what, and what is allowed', () => {
  const STORE = 'https://account.blob.core.windows.net/container';
  const cases: [string, string, string[]][] = [
    [
      'an unknown key',
      'window:\n  notise: 30s\n',
      ['zz-test.yaml:2:', 'window.notise', 'notice', 'urgent', 'reserve'],
    ],
    [
      'a wrong unit',
      'window:\n  notice: 30 seconds\n',
      ['zz-test.yaml:2:', 'window.notice', '"30 seconds"', '15m'],
    ],
    ['a number without a unit', 'window:\n  notice: 30\n', ['zz-test.yaml:2:', 'window.notice', '30', '15m']],
    [
      'a missing store URL',
      'checkpoint:\n  sets: [{ name: job, path: /var/lib/job }]\n',
      ['zz-test.yaml:2:', 'checkpoint.store', 'missing', 'url'],
    ],
    [
      'a relative program',
      'hooks:\n  - { name: stop, run: [bin/stop.sh] }\n',
      ['zz-test.yaml:2:', 'hooks', 'run', 'absolute path'],
    ],
    [
      'a store URL with a secret',
      `checkpoint:\n  store: { url: "${STORE}?sig=c2VjcmV0" }\n`,
      ['zz-test.yaml:2:', 'checkpoint.store.url', 'file'],
    ],
  ];
  it.for(cases)('%s', async ([, config, parts]) => {
    await using machine = await createMachine();
    await machine.configure({ imds: NOWHERE, config });
    const { code, output } = await runEvictd(['run', '--config', machine.configFile]);
    expect(code).toBe(2);
    for (const part of parts) expect(output).toContain(part);
    expect(output).not.toContain('c2VjcmV0');
    expect(output).not.toMatch(/^\s+at /m);
    await expect(stat(machine.stateDir)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('a file that the group can write', async () => {
    await using machine = await createMachine();
    await machine.configure({ imds: NOWHERE });
    await chmod(machine.configFile, 0o664);
    const { code, output } = await runEvictd(['run', '--config', machine.configFile]);
    expect(code).toBe(2);
    expect(output).toContain(machine.configFile);
    expect(output).toContain('mode 0664');
    expect(output).toContain('chmod go-w');
  });

  it('a file that is not there', async () => {
    const { code, output } = await runEvictd(['run', '--config', '/nonexistent/evictd.yaml']);
    expect(code).toBe(2);
    expect(output).toContain('/nonexistent/evictd.yaml');
  });
});

describe.concurrent('evictd status', () => {
  it('without a daemon ends with 69 and says how to start it', async () => {
    await using machine = await createMachine();
    await machine.configure({ imds: NOWHERE });
    const { code, output } = await runEvictd(['status', '--config', machine.configFile]);
    expect(code).toBe(69);
    expect(output).toContain(`nothing answers on ${machine.socket}`);
    expect(output).toContain('→ start it');
  });

  it('shows the VM, the polls and the drain, for people and as JSON', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const stop = await machine.hook('stop', 'until_ go');
    const config = `hooks: [{ name: stop, run: [${stop}] }, { name: tell, stage: after-checkpoint, run: [${stop}] }]`;
    await machine.configure({ imds: imds.url, config });
    await using daemon = startEvictd(['run', '--config', machine.configFile]);
    await daemon.line('identified');
    const status = (...more: string[]) => runEvictd(['status', '--config', machine.configFile, ...more]);
    const watching = await status();
    expect(watching.code).toBe(0);
    expect(watching.output).toMatch(
      /^(?:PROTECTED|BLIND) .*\n(?: +→ .*\n)?phase +(?:watching \(no event for this VM|blind \(.*)\)\nvm +fleet_0\nlast poll +(?:none answered yet|answered .* ago)\n/,
    );
    expect(watching.output).toMatch(/^hook +tell \(after-checkpoint\): order 50, up to 10\.0 s$/m);
    const { id } = imds.addEvent();
    await daemon.line('event-noticed');
    const draining = await status();
    expect(draining.output).toMatch(
      new RegExp(
        String.raw`^DRAINING +for the event \S+\nphase +before-checkpoint \(DRAINING: .*\)\nvm +fleet_0\nlast poll +answered .* ago\n` +
          String.raw`event +Preempt ${id} \(Scheduled, 2\d\.\d s left, ack open\)\n` +
          String.raw`drain +under way, 2\d\.\d s left\n` +
          String.raw`hook +stop \(before-checkpoint\): running for [\d.]+ m?s\n` +
          String.raw`hook +tell \(after-checkpoint\): pending$`,
      ),
    );
    const { output } = await status('--json');
    const asConfigured = { order: 50, timeoutMs: 10_000, required: true };
    expect(JSON.parse(output)).toEqual({
      version: 1,
      evictdVersion: expect.any(String),
      pid: daemon.pid,
      dryRun: false,
      vmName: 'fleet_0',
      phase: 'before-checkpoint',
      protection: { verdict: 'draining', reasons: [] },
      poll: { lastGoodAgoMs: expect.any(Number), consecutiveFailures: 0 },
      events: [{ id, type: 'Preempt', status: 'Scheduled', leftMs: expect.any(Number), ack: 'open' }],
      peers: [],
      peerHooks: [],
      hooks: [
        { name: 'stop', stage: 'before-checkpoint', ...asConfigured },
        { name: 'tell', stage: 'after-checkpoint', ...asConfigured },
      ],
      drain: {
        eventId: id,
        leftMs: expect.any(Number),
        hooks: [
          {
            name: 'stop',
            stage: 'before-checkpoint',
            state: 'running',
            attempt: 1,
            durationMs: expect.any(Number),
          },
          { name: 'tell', stage: 'after-checkpoint', state: 'pending', attempt: 0 },
        ],
        sets: [],
      },
      sets: [],
      upload: { bytesLeft: 0, expectedMs: 0, windowMs: 30_000 },
    });
    await machine.release('go');
  });
});

describe.concurrent('evictd checkpoint', () => {
  it('without a checkpoint section is an error of the config, and says what to add', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    const { code, output } = await runEvictd(['checkpoint', '--config', machine.configFile]);
    expect(code).toBe(2);
    expect(output).toContain('the config has no checkpoint.sets');
    expect(output).toContain('→ add a checkpoint section');
    await daemon.stop();
    expect(daemon.logged(isMessage('evictd stopped'))).toBe(1);
  });
});
