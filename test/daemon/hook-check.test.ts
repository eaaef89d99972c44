import { chmod, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { loadConfig } from '../../src/config/load.ts';
import { hookWarnings } from '../../src/daemon/hook-check.ts';
import { createMachine } from '../support/daemon.ts';
import { isMessage, isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';

const WOULD_FAIL = 'hook would fail if it had to run now';

describe.concurrent('hooks that can not work', () => {
  it('are warned of at the start, each with its remedy, and not one of them is run', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const good = await machine.hook('good');
    const open = await machine.hook('open');
    await chmod(open, 0o777);
    const config = `hooks:
  - { name: good, run: [${good}] }
  - { name: missing, run: [/nonexistent/stop] }
  - { name: nobody, run: [${good}], user: no-such-user }
  - { name: open, run: [${open}] }
`;
    await using daemon = await machine.start({ imds: imds.url, config });
    await daemon.waitForLog((line) => line.msg === WOULD_FAIL && line['hook'] === 'open');
    const said = daemon.lines.filter(isMessage(WOULD_FAIL));
    const text = (pattern: string) => expect.stringContaining(pattern) as unknown;
    expect(said).toMatchObject([
      {
        level: 'warn',
        hook: 'missing',
        detail: '/nonexistent/stop does not exist',
        remedy: text('install it'),
      },
      { hook: 'nobody', detail: text('no user "no-such-user"'), remedy: text('useradd') },
      { hook: 'open', detail: text('mode 0777'), remedy: `chmod go-w ${open}` },
    ]);
    expect(await machine.hookLog()).toEqual([]);
  });

  it('are warned of when they are dropped into hooksDir, once', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await mkdir(machine.hooksDir, { mode: 0o755 });
    const config = 'hooks: [{ name: missing, run: [/nonexistent/stop] }]';
    await using daemon = await machine.start({ imds: imds.url, config });
    await daemon.waitForLog(isMessage(WOULD_FAIL));
    // Renamed into place: half a file would be another finding.
    await chmod(await machine.hook('new'), 0o757);
    await rename(join(machine.folder, 'new'), join(machine.hooksDir, 'new'));
    await daemon.waitForLog((line) => line.msg === WOULD_FAIL && line['hook'] === 'hooks.d/new');
    expect(daemon.logged((line) => line.msg === WOULD_FAIL && line['hook'] === 'missing')).toBe(1);
  });

  it('are named with their place, and what hooksDir ignores', async () => {
    await using machine = await createMachine();
    await mkdir(machine.hooksDir, { mode: 0o755 });
    await machine.hook('hooks.d/backup.sh');
    const config = 'hooks:\n  - { name: missing, run: [/nonexistent/stop] }';
    await machine.configure({ imds: 'http://127.0.0.1:9', config });
    const loaded = await loadConfig({ file: machine.configFile, env: {} });
    const warnings = await hookWarnings(loaded, { clock: systemClock, environment: {} });
    expect(warnings.map((line) => line.replace(/ \(checked as user id \d+\)$/, ''))).toEqual([
      expect.stringMatching(/^hooksDir: .*hooks\.d\/backup\.sh is ignored: its name has characters/),
      expect.stringMatching(
        /zz-test\.yaml:2:27: hook "missing" would fail: \/nonexistent\/stop does not exist; install it/,
      ),
    ]);
  });
});

describe.concurrent('a hook of a unit that does not exist', () => {
  it('is warned of at the start, and fails with what systemctl says', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const config = 'hooks: [{ name: web, systemd: { unit: evictd-no-such.service, action: stop } }]';
    await using daemon = await machine.start({ imds: imds.url, config });
    // Without a systemd it can't be told about, with one it is not found.
    expect(await daemon.waitForLog(isMessage(WOULD_FAIL))).toMatchObject({
      hook: 'web',
      detail: expect.stringContaining('evictd-no-such.service'),
    });
    imds.addEvent();
    expect(await daemon.waitForLog(isNote('hook-ended'))).toMatchObject({
      hook: 'web',
      result: 'failed',
      reason: 'exit',
      detail: expect.stringMatching(/^systemctl stop evictd-no-such\.service: \S/),
    });
    await daemon.waitForLog(isNote('ack-withheld'));
    expect(imds.acks()).toEqual([]);
  });
});
