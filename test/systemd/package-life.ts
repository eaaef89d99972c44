import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { bootInstalledVm, createDisk, userDataFor } from '../support/installed-vm.ts';
import type { InstalledVm } from '../support/installed-vm.ts';
import { until } from '../support/nspawn.ts';
import type { Suite } from '../support/nspawn-root.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { freshDeb } from '../tools/fresh-deb.ts';
import { newerDeb } from '../tools/newer-deb.ts';

const UNIT = 'evictd.service';

// `npm test` has installed them before; this is for a run of one file alone.
const { missing } = ensureDebianPackages(['systemd-container', 'mmdebstrap']);

/**
 * The whole product as users have it, from the first boot to the purge: a release of Debian under its real systemd, the
 * .deb installed by the project's user-data, the metadata service on its address. The tests share one machine, and each
 * goes on where the one before stopped.
 */
export function describePackageLife(suite: Suite): void {
  describe.skipIf(process.getuid?.() !== 0 || missing.length > 0)(`installed on Debian ${suite}`, () => {
    let folder = '';
    let newVersion = '';
    let compiled = '';
    let vm: InstalledVm;

    function boot(vmName: string): Promise<InstalledVm> {
      return bootInstalledVm({ folder: join(folder, 'disk'), suite, vmName }, [
        { host: join(folder, 'packages'), inside: '/srv' },
      ]);
    }

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'evictd-package-'));
      const deb = await freshDeb();
      await mkdir(join(folder, 'packages'));
      await copyFile(deb, join(folder, 'packages/evictd.deb'));
      newVersion = await newerDeb(deb, join(folder, 'packages/newer.deb'));
      const userData = await userDataFor('install', {
        PACKAGE_URL: 'file:///srv/evictd.deb',
        PACKAGE_SHA256: createHash('sha256')
          .update(await readFile(deb))
          .digest('hex'),
      });
      await createDisk({ folder: join(folder, 'disk'), suite, vmName: 'fleet_2' }, userData);
      vm = await boot('fleet_2');
    }, 400_000);

    afterEach(async ({ task }) => {
      // The machine is gone once the suite has ended, and its journal with it.
      if (task.result?.state === 'fail')
        console.error(await vm.machine.output(['journalctl', '--lines=120', '--no-pager']));
    });

    afterAll(async () => {
      await vm?.machine.stop();
      await rm(folder, { recursive: true, force: true });
    });

    const mainPid = () => vm.property(UNIT, 'MainPID');
    /** It is empty while the job writes it. */
    const stepOf = () =>
      until('a step', async () => Number(await vm.machine.output(['cat', '/var/lib/job/step'])) || undefined);

    /** Inodes and files of what the installation compiled. */
    const compiledCode = () =>
      vm.machine.output(['find', '/var/cache/evictd', '-type', 'f', '-printf', '%i %p\\n']);

    /** Until `STAGE EVENT 1` is among the calls. */
    const untilCalled = (stage: string, id: string) =>
      until(`the ${stage} hook of ${id}`, async () =>
        (await vm.hookCalls(id)).some((call) => call.startsWith(`${stage} `)),
      );

    /** As long as it doesn't know how much there is to upload, it keeps most of the window for that and cuts the hooks. */
    const untilFilesCounted = () =>
      until('the estimate of the upload', async () => {
        const status = await vm.machine.inside(['evictd', 'status', '--json']);
        return /"bytesLeft": ?\d/.test(status.stdout);
      });

    /** Everything of a drain happened, in order, once; and the workload is back at work. */
    async function expectWholeDrain(id: string): Promise<void> {
      await untilCalled('resumed', id);
      expect(await vm.hookCalls(id)).toEqual([`before ${id} 1`, `after ${id} 1`, `resumed ${id} 1`]);
      expect(await vm.acks(id)).toBe(1);
      await vm.untilActive('job.service');
    }

    test('is installed and configured by cloud-init, and ready before the workload', async () => {
      expect(await vm.property(UNIT, 'ActiveState')).toBe('active');
      expect(await vm.property('evictd-restore.service', 'Result')).toBe('success');
      const started = async (unit: string) =>
        Number(await vm.property(unit, 'ActiveEnterTimestampMonotonic'));
      expect(await started(UNIT)).toBeLessThan(await started('job.service'));
      await vm.machine.output(['evictd', 'config', 'check']);
      compiled = await compiledCode();
      expect(compiled).toMatch(/^\d+ \S+\n/);
      await until('polls', async () => (await vm.polls()) > 1);
    });

    test('drains: workload stopped, checkpoint in the store, acknowledged once, workload back', async () => {
      await vm.announce('A');
      await expectWholeDrain('A');
      await vm.machine.output(['evictd', 'restore', '--set', 'job', '--to', '/root/restored']);
      const end = await vm.machine.output(['cat', '/root/restored/end', '/root/restored/step']);
      const [, step] = /^stopped at (\d+)\n\1\n$/.exec(end) ?? [];
      expect(Number(step)).toBeGreaterThan(0);
    }, 150_000);

    test('is started again by the watchdog when it hangs', async () => {
      const pid = await mainPid();
      await vm.machine.output(['kill', '-STOP', pid]);
      await until('another process', async () => !['0', pid].includes(await mainPid()));
      await vm.untilActive(UNIT);
      expect(await vm.property(UNIT, 'NRestarts')).toBe('1');
    }, 150_000);

    test('killed in the middle of a hook: the hook runs once', async () => {
      await untilFilesCounted();
      await vm.hold('before');
      await vm.announce('B');
      await untilCalled('before', 'B');
      await vm.machine.output(['systemctl', 'kill', '--kill-whom=main', '--signal=KILL', UNIT]);
      await vm.untilActive(UNIT);
      expect(await vm.acks('B')).toBe(0);
      await vm.release('before');
      await expectWholeDrain('B');
    }, 150_000);

    test('killed after the checkpoint: nothing that was done is done again', async () => {
      await untilFilesCounted();
      await vm.hold('after');
      await vm.announce('C');
      await untilCalled('after', 'C');
      await vm.machine.output(['systemctl', 'kill', '--kill-whom=main', '--signal=KILL', UNIT]);
      await vm.untilActive(UNIT);
      expect(await vm.acks('C')).toBe(0);
      await vm.release('after');
      await expectWholeDrain('C');
    }, 150_000);

    test('stopped in the middle of a drain: the drain is finished first', async () => {
      await untilFilesCounted();
      await vm.hold('before');
      await vm.announce('D');
      await untilCalled('before', 'D');
      await vm.machine.output(['systemctl', 'stop', '--no-block', UNIT]);
      await until('the stop', async () => (await vm.property(UNIT, 'ActiveState')) === 'deactivating');
      await vm.release('before');
      await until('the end', async () => (await vm.property(UNIT, 'ActiveState')) === 'inactive');
      expect(await vm.property(UNIT, 'Result')).toBe('success');
      expect(await vm.acks('D')).toBe(1);
      await vm.machine.output(['systemctl', 'start', UNIT]);
      await expectWholeDrain('D');
    }, 150_000);

    test('upgraded in the middle of a drain: the drain goes on, an edited configuration stays', async () => {
      await vm.machine.output(['sh', '-c', 'echo "# edited" >> /etc/evictd/config.yaml']);
      await untilFilesCounted();
      const pid = await mainPid();
      await vm.hold('before');
      await vm.announce('E');
      await untilCalled('before', 'E');
      const upgrade = vm.machine.output(['dpkg', '--install', '/srv/newer.deb']);
      await until('the restart', async () => {
        const state = await vm.property(UNIT, 'ActiveState');
        return state === 'deactivating' || (await mainPid()) !== pid;
      });
      await vm.release('before');
      await upgrade;
      await expectWholeDrain('E');
      expect(await mainPid()).not.toBe(pid);
      expect(await vm.machine.output(['dpkg-query', '-W', '-f', '${Version} ${Status}', 'evictd'])).toBe(
        `${newVersion} install ok installed`,
      );
      expect(await vm.machine.output(['tail', '-n1', '/etc/evictd/config.yaml'])).toBe('# edited\n');
    }, 150_000);

    test('rebooted after the drain: the workload resumes from its own files', async () => {
      await vm.announce('F', '10m');
      await until('the acknowledgement', async () => (await vm.acks('F')) === 1);
      const step = await stepOf();
      await vm.machine.powerOff();
      vm = await boot('fleet_2');
      await untilCalled('resumed', 'F');
      expect(await vm.hookCalls('F')).toEqual(['before F 1', 'after F 1', 'resumed F 1']);
      await vm.untilActive('job.service');
      expect(await stepOf()).toBeGreaterThanOrEqual(step);
      // Whoever finds it of no use writes it anew when it ends; code that was not needed before may come to it.
      expect((await compiledCode()).split('\n')).toEqual(expect.arrayContaining(compiled.split('\n')));
    }, 150_000);

    test('removed it leaves configuration and state, purged nothing', async () => {
      await vm.announce('G', '10m');
      await until('the acknowledgement', async () => (await vm.acks('G')) === 1);
      const units = (pattern: string) =>
        vm.machine.output(['systemctl', 'list-units', '--plain', '--no-legend', pattern]);
      // The results of hooks are kept as long as the event is there.
      expect(await units('evictd-hook-*')).toContain('evictd-hook-before-');
      await vm.machine.output(['dpkg', '--remove', 'evictd']);
      expect((await vm.machine.inside(['test', '-e', '/etc/evictd/config.yaml'])).code).toBe(0);
      expect((await vm.machine.inside(['test', '-e', '/var/lib/evictd/journal.json'])).code).toBe(0);
      await vm.machine.output(['dpkg', '--purge', 'evictd']);
      expect(await units('evictd*')).toBe('');
      const left = await vm.machine.output([
        'find',
        '/etc',
        '/usr',
        '/var',
        '/run',
        '-xdev',
        '-name',
        '*evictd*',
      ]);
      // What user-data and the test put there.
      expect(left.split('\n').filter(Boolean).toSorted()).toEqual([
        '/etc/systemd/system/evictd.service.d',
        '/etc/systemd/system/job.service.d/evictd.conf',
        // Of the workload's folder, to which it was restored.
        '/var/lib/job/.evictd-restored',
      ]);
      expect((await vm.machine.inside(['getent', 'group', 'evictd'])).code).not.toBe(0);
    }, 150_000);
  });
}
