import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { startAzurite } from '../support/azurite.ts';
import { testFolder } from '../support/file-tree.ts';
import { startHttpReceiver } from '../support/http-receiver.ts';
import { usageOf } from '../support/process-usage.ts';
import { type SpotVm, createSpotVm, until } from '../support/spot-vm.ts';
import { type Inside, type Pace, type WatchedDaemon, startWatched } from './daemon.ts';
import { fastClock } from './fast-clock.ts';
import { lookAtStore } from './store-look.ts';
import { type Workload, startWorkload } from './workload.ts';

/** Taken while nothing is under way. Sizes in bytes. */
export interface Sample extends Inside {
  /** Since the first sample. */
  readonly ms: number;
  readonly notices: number;
  readonly rss: number;
  readonly anonymous: number;
  readonly threads: number;
  readonly descriptors: number;
  readonly blobs: number;
  readonly packs: number;
  readonly storedBytes: number;
  readonly journal: number;
  readonly stateFolder: number;
}

export interface LifeOptions extends Pace {
  /** Plants one, to see whether it is found. */
  readonly leak: boolean;
  /** Between two samples. */
  readonly noticesEach: number;
  readonly goesOn: (notices: number) => boolean;
  readonly onSample: (sample: Sample) => void;
}

export interface Life {
  readonly notices: number;
  readonly drains: number;
  readonly commits: number;
  readonly troubles: ReadonlyMap<string, number>;
}

/** A disk doesn't get quicker with the clock; and in its own memory Azurite takes minutes to remove what many wrote. */
const MEMORY = '/dev/shm';
/** In real time: what was in use is given back 10 s after it by the daemon's clock, and then retention has its turn. */
const REST_MS = 500;
const REST_PER_NOTICE_MS = 40;
const KEEP = 3;

/** One life of the daemon, in which events are announced and withdrawn again and again. */
export async function liveLong(options: LifeOptions): Promise<Life> {
  await using stack = new AsyncDisposableStack();
  const azurite = stack.use(await startAzurite({ persistent: true, within: MEMORY }));
  const receiver = stack.use(await startHttpReceiver());
  const containerUrl = azurite.containerUrl();
  const folder = stack.use(await testFolder(MEMORY));
  await writeFile(join(folder.path, 'webhook'), receiver.url, { mode: 0o600 });
  const vm = stack.use(await createVm(options, containerUrl, folder.path));
  using workload = startWorkload(vm.job);
  const daemon = stack.use(await startWatched(vm, options, options.leak));
  await until('store', () => daemon.said('checkpoint store is ready') > 0);
  let notices = 0;
  let firstAt: number | undefined;
  while (options.goesOn(notices)) {
    for (let i = 0; i < options.noticesEach; i++) await playNotice(vm, daemon, workload, notices++);
    workload.pause();
    await sleep(REST_MS + REST_PER_NOTICE_MS * options.noticesEach);
    firstAt ??= performance.now();
    const store = await lookAtStore(containerUrl, KEEP);
    options.onSample({
      ms: performance.now() - firstAt,
      notices,
      ...(await sampleOf(folder.path, daemon)),
      ...store,
    });
    workload.resume();
  }
  return {
    notices,
    drains: daemon.said('watching-again'),
    commits: daemon.said('set-ended'),
    troubles: daemon.troubles(),
  };
}

function createVm({ rate, startedNs }: Pace, containerUrl: string, folder: string): Promise<SpotVm> {
  return createSpotVm({
    clock: fastClock(startedNs, rate),
    store: { url: containerUrl, auth: { kind: 'azurite' } },
    hooks: [
      { name: 'stop', timeout: '60s' },
      { name: 'resume', stage: 'on-resume', timeout: '60s' },
      { name: 'neighbour', scope: 'peers', timeout: '60s' },
    ],
    // Gone as soon as it is acknowledged, so that the next one can come.
    scenario: { service: { startAfterAck: '0s', startedFor: '0s' } },
    checkpoint: { background: { idle: '0s' }, every: '1m', keep: KEEP },
    config: {
      // What takes a second on this machine takes twenty for the daemon.
      window: { notice: '5m' },
      notify: [{ name: 'ops', webhook: { 'url-file': join(folder, 'webhook') } }],
      metrics: { listen: '127.0.0.1:0' },
      state: { dir: join(folder, 'state') },
    },
  });
}

/**
 * One is acknowledged and comes to its end, the next is withdrawn: right after it was seen, or in the middle of the
 * drain. Each time a neighbour's is there too.
 */
async function playNotice(
  { imds }: SpotVm,
  daemon: WatchedDaemon,
  workload: Workload,
  number: number,
): Promise<void> {
  const noticed = daemon.said('event-noticed');
  const over = daemon.said('watching-again');
  const other = imds.addEvent({ resources: ['neighbour'], notBefore: '5m' });
  const own = imds.addEvent({ notBefore: '5m' });
  await until(`notice ${number}`, () => daemon.said('event-noticed') > noticed);
  // As the hooks of a user would.
  workload.pause();
  if (number % 2 === 1) {
    await sleep((number * 7) % 60);
    imds.withdraw(own.id);
  }
  await until(`end of drain ${number}`, () => daemon.said('watching-again') > over);
  imds.withdraw(other.id);
  workload.resume();
}

async function sampleOf(folder: string, daemon: WatchedDaemon) {
  const state = join(folder, 'state');
  const { rss, anonymous, threads } = await usageOf(daemon.pid);
  return {
    rss,
    anonymous,
    threads,
    descriptors: (await readdir(`/proc/${daemon.pid}/fd`)).length,
    journal: (await stat(join(state, 'journal.json'))).size,
    stateFolder: await folderBytes(state),
    ...(await daemon.look()),
  };
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true });
  const sizes = await Promise.all(entries.map((entry) => stat(join(folder, entry)).then(({ size }) => size)));
  return sizes.reduce((sum, size) => sum + size, 0);
}
