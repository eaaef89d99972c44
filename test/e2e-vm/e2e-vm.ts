// npm run e2e:vm: a golden image, booted as a whole VM, evicted, and its work restored on another VM; and that one comes
// back with its disk, as Azure's eviction policy Deallocate has it. As root on Debian.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { formatDuration } from '../../src/base/units.ts';
import { startAzurite } from '../support/azurite.ts';
import type { Azurite } from '../support/azurite.ts';
import { runEvictd } from '../support/evictd-process.ts';
import { userDataFor } from '../support/installed-vm.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { openTestStore } from '../support/test-store.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { freshDeb } from '../tools/fresh-deb.ts';
import { type Image, STORE_URL, buildImage } from './image.ts';
import { type Vm, bootVm } from './qemu.ts';

const PACKAGES = [
  'mmdebstrap',
  'e2fsprogs',
  'qemu-system-x86',
  'qemu-utils',
  'mtools',
  'dosfstools',
  'netcat-openbsd',
];
const CLIENT_ID = '3f2504e0-4f89-41d3-9a0c-0305e82c3301';
const CONTAINER = 'checkpoints';
const KEY = 'the-job';
// Emulated it takes one or two minutes; the rest is for a machine that is busy.
const BOOT_MS_MAX = 400_000;
const WORK_MS_MAX = 120_000;
const WINDOW = '30s';

interface Fleet {
  readonly folder: string;
  readonly image: Image;
  readonly azurite: Azurite;
}

async function main(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('run it as root: it makes the file system of a VM');
  const { missing } = ensureDebianPackages(PACKAGES);
  if (missing.length > 0) throw new Error(`it needs ${missing.join(', ')}`);
  const folder = await mkdtemp(join(tmpdir(), 'evictd-e2e-vm-'));
  let passed = false;
  try {
    await using azurite = await startAzurite({ oauth: true });
    const fleet = { folder, azurite, image: await goldenImage(folder, azurite) };
    const first = await liveAndBeEvicted(fleet, 'fleet_1', 1);
    check(first.starts[0] === 'from 0', 'the job of the first VM began at 0');
    const second = await liveAndBeEvicted(fleet, 'fleet_2', 2);
    check(
      second.starts[1] === `from ${first.end}`,
      `the job of the second VM went on from step ${first.end}, where the first was stopped`,
    );
    const again = await liveAndBeEvicted(fleet, 'fleet_2', 3);
    check(
      again.starts[2] === `from ${second.end}`,
      `the job went on from step ${second.end} on the disk that was cut off right after the acknowledgement`,
    );
    passed = true;
  } finally {
    if (passed) await rm(folder, { recursive: true, force: true });
    else console.error(`  everything is left in ${folder}; console.log of each VM in its folder`);
  }
  console.log('\nPASS');
}

async function goldenImage(folder: string, azurite: Azurite): Promise<Image> {
  await createContainer(azurite);
  const deb = await step('build the package', freshDeb);
  const place = join(folder, 'image');
  await mkdir(place);
  return step('build the golden image', () => buildImage(place, deb, azurite.ca ?? ''));
}

/** As an operator does beforehand; the VM's identity only needs what is in the container. */
async function createContainer(azurite: Azurite): Promise<void> {
  await using operator = await openTestStore(azurite.containerUrl(CONTAINER), azurite.ca);
  await operator.ensureContainer(AbortSignal.timeout(20_000));
}

interface Saved {
  /** A line of each start of the job, on all VMs so far. */
  readonly starts: readonly string[];
  /** The step at which it was stopped. */
  readonly end: string;
}

/** One VM from its boot to its end; answers what the store has of its work. */
async function liveAndBeEvicted(fleet: Fleet, vmName: string, starts: number): Promise<Saved> {
  const { azurite, folder, image } = fleet;
  await using imds = await startTestImds({
    vm: { name: vmName },
    token: { clientIds: [CLIENT_ID] },
    service: { startedFor: '10m' },
  });
  await using vm = await bootVm({
    image,
    folder: join(folder, vmName),
    vmName,
    userData: await userDataFor('golden-image', {
      'http://127.0.0.1:10000/devstoreaccount1/checkpoints': STORE_URL,
      '{ kind: azurite }': `{ kind: managed-identity, clientId: ${CLIENT_ID} }`,
      "'{vmName}'": KEY,
    }),
    imdsPort: Number(new URL(imds.url).port),
    storePort: Number(new URL(azurite.origin).port),
  });
  const polls = () => imds.requests().filter(({ path }) => path.includes('scheduledevents')).length;
  await step(`${vmName}: boot until evictd polls ${imds.url} at its real address`, () =>
    until(vm, 'polls', BOOT_MS_MAX, async () => polls() >= 5),
  );
  await step(`${vmName}: until it has its store, and the job is at work`, () =>
    until(vm, 'store and job', WORK_MS_MAX, async () => {
      const said = await vm.console();
      return said.includes('checkpoint store is ready') && / job\[\d+\]: from \d/.test(said);
    }),
  );
  const { id } = imds.addEvent({ notBefore: WINDOW });
  await step(`${vmName}: notice of ${WINDOW} until the acknowledgement`, () =>
    Promise.race([imds.waitForAck(id, AbortSignal.timeout(60_000)), vm.died]),
  );
  await vm.evict();
  const saved = await step(`${vmName}: evicted; restore its checkpoint here`, () => restore(fleet, vmName));
  check(saved.starts.length === starts, `the job was started ${starts} times: ${saved.starts.join(', ')}`);
  check(Number(saved.end) > 0, 'it had done something');
  return saved;
}

async function restore({ folder, azurite }: Fleet, vmName: string): Promise<Saved> {
  const config = join(folder, `${vmName}.yaml`);
  const certificate = join(folder, 'store.pem');
  await writeFile(certificate, azurite.ca ?? '');
  const store = { url: azurite.containerUrl(CONTAINER), auth: { kind: 'azurite' } };
  const sets = [{ name: 'job', path: '/var/lib/job' }];
  await writeFile(config, JSON.stringify({ checkpoint: { store, key: KEY, sets } }), { mode: 0o600 });
  const to = join(folder, `${vmName}-restored`);
  const { code, output } = await runEvictd(['restore', '--config', config, '--set', 'job', '--to', to], {
    env: { NODE_EXTRA_CA_CERTS: certificate },
  });
  check(code === 0, `evictd restore: ${output}`);
  const starts = (await readFile(join(to, 'starts'), 'utf8')).trim().split('\n');
  const end = /^stopped at (\d+)$/m.exec(await readFile(join(to, 'end'), 'utf8'))?.[1] ?? '';
  return { starts, end };
}

async function step<T>(what: string, run: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await run();
  console.log(`${formatDuration(Math.round(performance.now() - began)).padStart(10)}  ${what}`);
  return result;
}

async function until(vm: Vm, what: string, limitMs: number, holds: () => Promise<boolean>): Promise<void> {
  const endsAt = performance.now() + limitMs;
  while (!(await holds())) {
    check(performance.now() < endsAt, `${what} within ${formatDuration(limitMs)}`);
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 250)), vm.died]);
  }
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`expected: ${what}`);
}

try {
  await main();
} catch (error) {
  console.error(`\nFAIL: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
