import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

import { bootInstalledVm, createDisk, userDataFor } from '../support/installed-vm.ts';
import type { Disk, InstalledVm } from '../support/installed-vm.ts';
import { runOnDisk, until } from '../support/nspawn.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { freshDeb } from '../tools/fresh-deb.ts';

const PACKAGING = fileURLToPath(new URL('../../packaging', import.meta.url));
const IMAGE = { suite: 'trixie' } as const;

// Baked into the image with the workload.
const JOB_DROP_IN = `[Unit]
Requires=evictd-restore.service
After=evictd-restore.service evictd.service
`;

const { missing } = ensureDebianPackages(['systemd-container', 'mmdebstrap']);

describe.skipIf(process.getuid?.() !== 0 || missing.length > 0)('a golden image', () => {
  let folder = '';
  let deb = '';
  let vm: InstalledVm | undefined;

  /** A new disk from the image: the script on a mounted root filesystem, and user-data that only configures. */
  async function makeDisk(vmName: string): Promise<Disk> {
    const disk: Disk = { folder: join(folder, vmName), suite: 'trixie', vmName };
    // The replacement goes on with the line of the VM that it replaces.
    const userData = await userDataFor('golden-image', { "'{vmName}'": 'the-job' });
    await createDisk(disk, userData, {
      '/etc/systemd/system/job.service.d/evictd.conf': JOB_DROP_IN,
    });
    const root = join(disk.folder, 'root');
    const said = await runOnDisk(IMAGE, disk.folder, [`${PACKAGING}/image/install-into-root.sh`, root, deb]);
    expect(said).toMatch(/evictd\.service: enabled\nevictd-restore\.service: enabled\n$/);
    // Compiled code is part of the image: a VM that is evicted has no second start.
    expect(await readdir(join(disk.folder, 'upper/var/cache/evictd'))).toHaveLength(1);
    await runOnDisk(IMAGE, disk.folder, ['systemctl', `--root=${root}`, 'enable', 'job.service']);
    return disk;
  }

  const boot = (disk: Disk) =>
    bootInstalledVm(disk, [{ host: join(PACKAGING, 'cloud-init'), inside: '/srv' }]);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evictd-golden-'));
    deb = await freshDeb();
  }, 300_000);

  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail')
      console.error(await vm?.machine.output(['journalctl', '--lines=120', '--no-pager']));
  });

  afterAll(async () => {
    await vm?.machine.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('boots with evictd ready before the workload, and saves it', async () => {
    vm = await boot(await makeDisk('fleet_1'));
    await vm.untilActive('job.service');
    const ready = async (unit: string) => Number(await vm?.property(unit, 'ActiveEnterTimestampMonotonic'));
    expect(await ready('evictd.service')).toBeGreaterThan(await ready('cloud-init-network.service'));
    expect(await ready('job.service')).toBeGreaterThan(await ready('evictd.service'));
    await vm.announce('A', '10m');
    await until('the acknowledgement', async () => (await vm?.acks('A')) === 1);
    await vm.machine.powerOff();
  }, 200_000);

  test('on another VM restores the workload, and has no use for state that was left in it', async () => {
    const old = join(folder, 'fleet_1/upper/var');
    const disk = await makeDisk('fleet_9');
    const place = join(disk.folder, 'upper/var');
    // The store; and the state folder, as if the image had been made from a VM in the middle of its life.
    await cp(join(old, 'azurite'), join(place, 'azurite'), { recursive: true });
    await cp(join(old, 'lib/evictd'), join(place, 'lib/evictd'), { recursive: true });
    vm = await boot(disk);
    await vm.untilActive('job.service');
    const end = await vm.machine.output(['cat', '/var/lib/job/end']);
    const saved = Number(/^stopped at (\d+)\n$/.exec(end)?.[1]);
    expect(saved).toBeGreaterThan(0);
    await until('the job to go on from there', async () => {
      return (await vm?.machine.output(['cat', '/var/lib/job/starts'])) === `from 0\nfrom ${saved}\n`;
    });
    await vm.announce('B');
    await until('the drain', async () => (await vm?.hookCalls('B'))?.includes('resumed B 1'));
    expect(await vm.acks('B')).toBe(1);
    expect(await vm.acks('A')).toBe(0);
    expect(await vm.hookCalls('A')).not.toContain('before A 1');
  }, 150_000);

  test.each(['install', 'golden-image'])('takes the user-data %s.yaml by its schema', async (name) => {
    const check = ['cloud-init', 'schema', '--config-file'];
    expect(await vm?.machine.output([...check, `/srv/${name}.yaml`])).toContain('Valid schema');
    const wrong = (await userDataFor('golden-image')).replace('write_files', 'write_file');
    await vm?.machine.output(['tee', '/root/wrong.yaml'], { stdin: wrong });
    expect((await vm?.machine.inside([...check, '/root/wrong.yaml']))?.code).not.toBe(0);
  });
});
