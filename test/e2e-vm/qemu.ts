import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { type Image, STORE_ADDRESS } from './image.ts';

export interface VmOptions {
  readonly image: Image;
  /** Gets the VM's disk, its seed and `console.log`. With a disk from before, the VM is booted from that. */
  readonly folder: string;
  readonly vmName: string;
  readonly userData: string;
  /** Ports of this machine that the VM reaches, and nothing else. */
  readonly imdsPort: number;
  readonly storePort: number;
}

export interface Vm extends AsyncDisposable {
  /** What it has written to its console. */
  console(): Promise<string>;
  /** Power off at once, as an eviction ends. */
  evict(): Promise<void>;
  /** Rejects when it ends before it is evicted. */
  readonly died: Promise<never>;
}

const TOOL_MS_MAX = 60_000;

/** Boots a copy of the image with a NoCloud seed, emulated: hardware virtualization isn't needed. */
export async function bootVm(options: VmOptions): Promise<Vm> {
  const { folder, image } = options;
  const disk = join(folder, 'disk.qcow2');
  if (!existsSync(disk)) {
    await mkdir(folder);
    await run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', image.disk, '-F', 'raw', disk);
  }
  const seed = await writeSeed(options);
  const forward = (address: string, port: number) => `guestfwd=tcp:${address}-cmd:nc 127.0.0.1 ${port}`;
  const network = [
    'user,id=net,restrict=on,net=169.254.0.0/16,host=169.254.0.2',
    forward('169.254.169.254:80', options.imdsPort),
    forward(`${STORE_ADDRESS}:10000`, options.storePort),
  ];
  const argv = [
    ['-accel', 'tcg', '-cpu', 'max', '-m', '1024', '-nodefaults', '-nographic', '-serial', 'stdio'],
    ['-kernel', image.kernel, '-initrd', image.initrd],
    // The kernel's check of its timer counts ticks, and on a machine that is busy finds too few and hangs.
    ['-append', 'root=/dev/vda rw console=ttyS0 no_timer_check'],
    ['-drive', `if=virtio,format=qcow2,cache=unsafe,file=${disk}`],
    ['-drive', `if=virtio,format=raw,readonly=on,file=${seed}`],
    ['-netdev', network.join(','), '-device', 'virtio-net-pci,netdev=net'],
    // Without it the guest waits for entropy.
    ['-device', 'virtio-rng-pci', '-no-reboot'],
  ].flat();
  // The kernel ends it with this process, however that ends.
  const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const logFile = join(folder, 'console.log');
  const log = createWriteStream(logFile);
  qemu.stdout.pipe(log, { end: false });
  qemu.stderr.pipe(log, { end: false });
  let evicted = false;
  const ended = once(qemu, 'close');
  const evict = async () => {
    evicted = true;
    qemu.kill('SIGKILL');
    await ended;
  };
  const died = ended.then((): never => {
    throw new Error(evicted ? `${options.vmName} is gone` : `QEMU ended by itself, see ${logFile}`);
  });
  died.catch(() => undefined);
  return { console: () => readFile(logFile, 'utf8'), evict, died, [Symbol.asyncDispose]: evict };
}

async function writeSeed({ folder, vmName, userData }: VmOptions): Promise<string> {
  const seed = join(folder, 'seed.img');
  await rm(seed, { force: true });
  await writeFile(join(folder, 'user-data'), userData);
  await writeFile(join(folder, 'meta-data'), `instance-id: ${vmName}\nlocal-hostname: vm\n`);
  await run('mkfs.vfat', '-C', '-n', 'CIDATA', seed, '1024');
  await run('mcopy', '-i', seed, join(folder, 'user-data'), join(folder, 'meta-data'), '::');
  return seed;
}

function run(program: string, ...args: readonly string[]) {
  return promisify(execFile)(program, args, { timeout: TOOL_MS_MAX });
}
