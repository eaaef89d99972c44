import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { isErrno } from '../../src/base/errors.ts';
import type { FaultInput } from '../../src/mock/schema.ts';
import type { Azurite } from '../support/azurite.ts';
import type { BlobProxy, Fault } from '../support/blob-proxy.ts';
import type { SpotVm } from '../support/spot-vm.ts';
import type { FaultKind, PlannedFault } from './plan.ts';
import type { Supervisor } from './supervisor.ts';

/** What faults are done to. */
export interface Victims {
  readonly vm: SpotVm;
  readonly daemon: Supervisor;
  readonly azurite: Azurite;
  readonly proxy: BlobProxy;
  /** What is added to the daemon's wall clock, as libfaketime reads it. */
  readonly clockFile: string;
}

type Heal = () => Promise<void> | void;

const CUTS: readonly Fault[] = [
  { kind: 'reset' },
  { kind: 'drop-answer' },
  { kind: 'cut-answer' },
  { kind: 'hang' },
  { kind: 'hang-answer' },
  { kind: 'status', status: 503, headers: { 'x-ms-request-id': 'chaos', 'x-ms-error-code': 'ServerBusy' } },
];
const IMDS_FAULTS: readonly FaultInput[] = [
  { kind: 'hang', on: 'all' },
  { kind: 'status', status: 500, on: 'all' },
  { kind: 'reset', on: 'all' },
  { kind: 'truncated' },
  { kind: 'html', on: 'all' },
  { kind: 'broken-event' },
];
const CLOCK_STEPS = ['+1h', '-1h', '+400d', '-20s', '+45s'];
/** Of the file system that holds the state. */
const STATE_KIB = 512;

/** All faults, each when its time has come and taken back after its time; those of a kind one after the other. */
export async function suffer(faults: readonly PlannedFault[], victims: Victims): Promise<void> {
  const startedAt = performance.now();
  const kinds = Map.groupBy(
    faults.toSorted((one, other) => one.atMs - other.atMs),
    ({ kind }) => kind,
  );
  await Promise.all(
    [...kinds.values()].map(async (ofKind) => {
      for (const { kind, atMs, forMs, variant } of ofKind) {
        await sleep(Math.max(0, startedAt + atMs - performance.now()));
        const heal = await INJECT[kind](victims, variant);
        await sleep(forMs);
        await heal?.();
      }
    }),
  );
}

type Inject = (victims: Victims, variant: number) => Promise<Heal | undefined>;

const INJECT: Readonly<Record<FaultKind, Inject>> = {
  async kill({ daemon }) {
    daemon.signal('SIGKILL');
    return undefined;
  },
  async freeze({ daemon }) {
    daemon.signal('SIGSTOP');
    return () => daemon.signal('SIGCONT');
  },
  async 'store-down'({ azurite }) {
    await azurite.shutDown();
    return () => azurite.restart();
  },
  async cut({ proxy }, variant) {
    proxy.fail({ fault: pick(CUTS, variant), times: 1 + (variant % 5) });
    return undefined;
  },
  async imds({ vm }, variant) {
    vm.imds.fault({ ...pick(IMDS_FAULTS, variant), count: 1 + (variant % 4) });
    return undefined;
  },
  async 'disk-full'({ vm }) {
    const ballast = `${stateFolder(vm)}/ballast`;
    try {
      await writeFile(ballast, Buffer.alloc(2 * STATE_KIB * 1024));
    } catch (error) {
      if (!isErrno(error, 'ENOSPC')) throw error;
    }
    return () => rm(ballast, { force: true });
  },
  async clock({ clockFile }, variant) {
    await writeFile(clockFile, `${pick(CLOCK_STEPS, variant)}\n`);
    return undefined;
  },
  async 'no-route'() {
    setLoopback('down');
    return () => setLoopback('up');
  },
};

/** The state of this VM on a small file system of its own, until it is disposed. */
export function smallState(vm: SpotVm): Disposable {
  const folder = stateFolder(vm);
  mkdirSync(folder, { mode: 0o700 });
  const options = `size=${STATE_KIB}k,mode=0700`;
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'evictd-chaos', folder]);
  return { [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', folder]) };
}

function stateFolder(vm: SpotVm): string {
  return `${vm.folder}/state`;
}

/** Of this network namespace. */
export function setLoopback(state: 'up' | 'down'): void {
  execFileSync('ip', ['link', 'set', 'lo', state]);
}

/** The environment in which a process has a wall clock that `clockFile` moves; times of files stay as they are. */
export function fakeClock(library: string, clockFile: string): Readonly<Record<string, string>> {
  return {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: clockFile,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    NO_FAKE_STAT: '1',
  };
}

function pick<T>(list: readonly T[], variant: number): T {
  const picked = list[variant % list.length];
  if (picked === undefined) throw new Error('there is nothing to pick from');
  return picked;
}
