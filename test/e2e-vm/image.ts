import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

import { JOB, writeFiles } from '../support/installed-vm.ts';
import { runOnDisk } from '../support/nspawn.ts';
import type { DebianRoot } from '../support/nspawn-root.ts';

/** What QEMU boots; kernel and initrd are those of the image. */
export interface Image {
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
}

/** The store in the guest's network; on its loopback, where the certificate of the store is valid. */
export const STORE_ADDRESS = '169.254.0.100';
export const STORE_URL = 'https://127.0.0.1:10000/devstoreaccount1/checkpoints';

const INSTALL = fileURLToPath(new URL('../../packaging/image/install-into-root.sh', import.meta.url));
const BASE: DebianRoot = {
  // Debian 12: the kernel of Debian 13 faults under QEMU 7.2 without hardware virtualization.
  suite: 'bookworm',
  packages: ['linux-image-cloud-amd64', 'udev'],
};

const ON_CONSOLE = '[Service]\nStandardOutput=journal+console\nStandardError=journal+console\n';
const TRUST = `${ON_CONSOLE}Environment=NODE_EXTRA_CA_CERTS=/etc/ssl/store.pem\n`;

/** Debian with the workload, and evictd by the project's own script, on a disk of its own. */
export async function buildImage(folder: string, deb: string, storeCertificate: string): Promise<Image> {
  await writeFiles(folder, {
    '/usr/local/bin/job': { text: JOB, mode: 0o755 },
    '/etc/systemd/system/job.service': `${ON_CONSOLE}ExecStart=/usr/local/bin/job\n[Install]\nWantedBy=multi-user.target\n`,
    '/etc/systemd/system/job.service.d/evictd.conf':
      '[Unit]\nRequires=evictd-restore.service\nAfter=evictd-restore.service evictd.service\n',
    '/etc/fstab': '/dev/vda / ext4 defaults 0 1\n',
    '/etc/systemd/network/10-azure.network':
      '[Match]\nName=en* eth*\n[Network]\nAddress=169.254.100.2/16\nLinkLocalAddressing=no\n',
    '/etc/cloud/cloud.cfg.d/90-test.cfg':
      'datasource_list: [NoCloud, None]\nnetwork: { config: disabled }\nlocale: false\n',
    // Between the certificate's 127.0.0.1 and the address outside.
    '/etc/systemd/system/store.socket':
      '[Socket]\nListenStream=127.0.0.1:10000\n[Install]\nWantedBy=sockets.target\n',
    '/etc/systemd/system/store.service': `[Service]\nExecStart=/usr/lib/systemd/systemd-socket-proxyd ${STORE_ADDRESS}:10000\n`,
    '/etc/ssl/store.pem': storeCertificate,
    '/etc/systemd/system/evictd.service.d/test.conf': TRUST,
    '/etc/systemd/system/evictd-restore.service.d/test.conf': TRUST,
  });
  const root = join(folder, 'root');
  const image = {
    disk: join(folder, 'golden.ext4'),
    kernel: join(folder, 'vmlinuz'),
    initrd: join(folder, 'initrd'),
  };
  const inImage = (...argv: readonly string[]) => runOnDisk(BASE, folder, argv, 300_000);
  await inImage(INSTALL, root, deb);
  const units = ['job.service', 'store.socket', 'systemd-networkd.service'];
  await inImage('systemctl', `--root=${root}`, '--quiet', 'enable', ...units);
  await inImage(
    'sh',
    '-c',
    `cp ${root}/boot/vmlinuz-* ${image.kernel} && cp ${root}/boot/initrd.img-* ${image.initrd}`,
  );
  // Without loop devices and mounts of its own.
  await inImage('mke2fs', '-q', '-t', 'ext4', '-d', root, image.disk, '2G');
  return image;
}
