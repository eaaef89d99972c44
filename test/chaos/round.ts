import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Azurite } from '../support/azurite.ts';
import { createBlobProxy } from '../support/blob-proxy.ts';
import { pattern, readTree, testFolder } from '../support/file-tree.ts';
import { type SpotVm, createSpotVm } from '../support/spot-vm.ts';
import { fakeClock, smallState, suffer, type Victims } from './faults.ts';
import { judge, type Restored } from './judge.ts';
import type { FaultKind, Plan } from './plan.ts';
import { supervise } from './supervisor.ts';

const MIB = 1024 ** 2;
/** After the last fault, for a drain that has all the time it wants. */
const FINISH_MS = 90_000;

export interface RoundResult {
  readonly outcome: 'acknowledged' | 'gone';
  readonly restored: Restored;
  /** Of the daemon. */
  readonly starts: number;
  readonly hookStarts: readonly string[];
  /** What must not be; empty when all is well. */
  readonly violations: readonly string[];
  /** Of each life, where something was violated. */
  readonly logs: readonly string[];
}

/** One VM from its first checkpoint to its end, with the faults of the plan meanwhile. */
export async function playRound(
  plan: Plan,
  azurite: Azurite,
  clockLibrary: string | undefined,
): Promise<RoundResult> {
  await using folder = await testFolder();
  const clockFile = join(folder.path, 'clock');
  await writeFile(clockFile, '+0\n');
  await using proxy = await createBlobProxy(azurite.containerUrl());
  const env = clockLibrary !== undefined && has(plan, 'clock') ? fakeClock(clockLibrary, clockFile) : {};
  await using vm = await createVm(plan, proxy.url, env);
  using _ = has(plan, 'disk-full') ? smallState(vm) : undefined;
  await writeJob(vm.job, 1, plan.packs);
  const first = await vm.command('checkpoint');
  if (first.code !== 0) throw new Error(`the first checkpoint failed: ${first.output}`);
  const old = await readTree(vm.job);
  await writeJob(vm.job, 2, plan.packs);
  const written = await readTree(vm.job);
  proxy.reset();

  const daemon = supervise(() => vm.start());
  let lived;
  try {
    lived = await live(plan, { vm, daemon, azurite, proxy, clockFile });
  } finally {
    await daemon.end();
  }
  const { eventId, isAcked } = lived;
  proxy.reset();
  const hookStarts = await vm.hookStarts();
  const found = await vm.restored();
  const trees = { old, written, last: await readTree(vm.job), found };
  const { restored, violations } = judge({
    plan,
    trees,
    eventId,
    isAcked,
    hookStarts,
    acks: vm.imds.acks(),
    daemon,
  });
  return {
    outcome: isAcked ? 'acknowledged' : 'gone',
    restored,
    starts: daemon.lives.length,
    hookStarts,
    violations,
    logs: violations.length > 0 ? daemon.lives.map((life) => life.output()) : [],
  };
}

/** Until the drain is over or the VM is gone. */
async function live(plan: Plan, victims: Victims) {
  const { vm } = victims;
  const faults = suffer(plan.faults, victims);
  await sleep(plan.noticeAtMs);
  const eventId = vm.preempt(plan.notice === 'long' ? '10m' : `${plan.notice}s`);
  const acked = (signal: AbortSignal) =>
    vm.imds.waitForAck(eventId, signal).then(
      () => true,
      () => false,
    );
  if (plan.notice !== 'long') {
    const isAcked = await acked(AbortSignal.timeout(plan.notice * 1000));
    await victims.daemon.end();
    await faults;
    return { eventId, isAcked };
  }
  await faults;
  return { eventId, isAcked: await acked(AbortSignal.timeout(FINISH_MS)) };
}

async function createVm(plan: Plan, url: string, env: Readonly<Record<string, string>>): Promise<SpotVm> {
  const seconds = plan.hookMs / 1000;
  // One write, so that it is there or not.
  const stop = `sleep ${seconds}; echo "step 3" | dd of="$(dirname "$0")/job/step" conv=notrunc status=none; sleep ${seconds}`;
  return createSpotVm({
    store: { url, auth: { kind: 'azurite' } },
    hooks: [
      { name: 'stop-workers', order: 10, timeout: '60s', script: stop },
      { name: 'tell', stage: 'after-checkpoint', script: '' },
    ],
    env,
    config: { window: { notice: plan.notice === 'long' ? '10m' : '30s' } },
    checkpoint: { background: plan.background ? { interval: '1s', idle: '1s' } : false },
    set: { compress: plan.compress ? 'zstd' : 'none' },
  });
}

/** A version of everything; only names are alike between two. */
async function writeJob(job: string, version: number, packs: number): Promise<void> {
  await mkdir(join(job, 'logs'), { recursive: true });
  await writeFile(join(job, 'model.bin'), pattern(packs * 8 * MIB - 1000, version));
  await writeFile(join(job, 'step'), `step ${version}\n`);
  await writeFile(join(job, `logs/only-${version}`), `log of ${version}\n`);
  await rm(join(job, `logs/only-${version - 1}`), { force: true });
}

function has(plan: Plan, kind: FaultKind): boolean {
  return plan.faults.some((fault) => fault.kind === kind);
}
