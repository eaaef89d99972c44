import { arrangeOthers } from './others.ts';
import { startDaemon, statusOf } from './daemon-in-world.ts';
import { forgetDeadlines } from './facts.ts';
import { WALL_EPOCH } from './guest.ts';
import { askForCheckpoint, stopDaemon } from './operator.ts';
import { createRandom } from './random.ts';
import { checkRestores } from './restores.ts';
import type { Workload } from './workload.ts';
import { type World, boot, createWorld } from './world.ts';

export interface LifeResult {
  readonly seed: number;
  readonly violations: readonly string[];
  /** What happened how often, to see that the lives are full of it. */
  readonly counts: Readonly<Record<string, number>>;
}

const CHECK_EVERY_MS = 250;
const SUCCESSOR_MS = 60_000;
const ARRIVAL_MS = 60_000;

/** Lives one life from its seed. The same seed is the same life, as long as neither the program nor this changes. */
export async function liveOnce(
  seed: number,
  settled: () => Promise<void>,
  trace: (text: string) => void,
): Promise<LifeResult> {
  const world = createWorld(seed, settled, trace);
  const { agenda, plan, facts, guest } = world;
  Math.random = createRandom(seed ^ 0x5eed).next;
  Date.now = () => Math.round(WALL_EPOCH + agenda.now());
  arrange(world);
  arrangeOthers(world);
  startDaemon(world);
  await agenda.play(plan.quietFrom, () => guest.isAlive && facts.violations.length === 0);
  const isOver = () => !guest.isAlive || facts.violations.length > 0 || isWatching(world);
  await agenda.play(plan.endsAt, () => !isOver());
  const phase = statusOf(world)?.phase ?? 'not there';
  if (!isOver()) facts.violations.push(`when all events are gone, it is ${phase}, not watching`);
  if (plan.isCalm) checkCalm(world);
  guest.isAlive = false;
  world.process?.kill('the VM is gone');
  // Others go on: one of them may be its successor.
  await agenda.play(plan.quietFrom + SUCCESSOR_MS, () => facts.violations.length === 0);
  world.isOver = true;
  for (const other of world.besides) other.guest.isAlive = false;
  // What was on its way to the store gets there yet.
  await agenda.play(agenda.now() + ARRIVAL_MS, () => facts.violations.length === 0);
  if (facts.violations.length === 0) await checkRestores(world);
  return { seed, violations: facts.violations, counts: countsOf(world) };
}

/** Nothing of all that happened is left. */
function isWatching(world: World): boolean {
  const status = statusOf(world);
  return status?.phase === 'watching' && status.events.length === 0;
}

/** All that happens by itself. */
function arrange(world: World): void {
  const { agenda, plan, guest, random, workloads, facts } = world;
  for (const at of plan.killsAt) agenda.at(at, () => world.process?.kill('out of memory'));
  for (const at of plan.stopsAt) agenda.at(at, () => stopDaemon(world));
  for (const at of plan.powerCutsAt) agenda.at(at, () => cutPower(world));
  for (const { at, forMs } of plan.freezes) {
    agenda.at(at, () => {
      guest.frozenUntil = Math.max(guest.frozenUntil, agenda.now() + forMs);
      world.undisturbedSince = guest.frozenUntil;
      world.trace(`frozen for ${Math.round(forMs)} ms`);
    });
  }
  for (const { at, byMs } of plan.clockSteps) agenda.at(at, () => void (guest.wallOffset += byMs));
  for (const at of plan.checkpointsAt) agenda.at(at, () => askForCheckpoint(world));
  agenda.at(plan.quietFrom, () => {
    for (const event of plan.events) event.goneAt = Math.min(event.goneAt, agenda.now());
  });
  for (const { type, resources, startsAt, goneAt } of plan.events) {
    const isDeadly =
      (type === 'Preempt' || type === 'Terminate') &&
      resources.some((name) => name.toLowerCase() === guest.name);
    if (!isDeadly || goneAt !== Infinity || plan.isCalm) continue;
    // Best effort only: it may come before its time.
    agenda.at(startsAt + random.between(-10_000, 10_000), () => void (guest.isAlive = false));
  }
  for (const workload of workloads.get(guest.name) ?? []) {
    const work = () => {
      if (guest.frozenUntil <= agenda.now() && !isStopped(world)) workload.work();
      if (agenda.now() < plan.quietFrom) agenda.after(random.between(0, 2 * plan.workEveryMs), work);
    };
    agenda.after(random.between(0, plan.workEveryMs), work);
    for (const at of plan.burstsAt) agenda.at(at, () => burst(world, workload));
  }
  const check = () => {
    const status = statusOf(world);
    if (status !== undefined) world.rules.onStatus(status, agenda.now() - world.undisturbedSince);
    if (facts.violations.length === 0) agenda.after(CHECK_EVERY_MS, check);
  };
  agenda.after(CHECK_EVERY_MS, check);
}

/** More often than a file can be read. */
function burst(world: World, workload: Workload): void {
  const { agenda, guest, random } = world;
  const endsAt = agenda.now() + random.between(500, 4000);
  const isHeld = () => guest.frozenUntil > agenda.now() || isStopped(world);
  const goOn = () => {
    if (!isHeld()) workload.goOn();
    if (agenda.now() < endsAt) agenda.after(random.between(2, 12), goOn);
  };
  if (isHeld()) return;
  workload.begin();
  goOn();
}

/** A `before-checkpoint` hook that succeeds has stopped the workload; it goes on when the daemon watches again. */
function isStopped(world: World): boolean {
  const status = statusOf(world);
  if (status?.phase === 'watching') world.isStopped = false;
  return world.isStopped;
}

/** The machine is reset: what no fsync has seen may be gone, and monotonic time begins anew. */
function cutPower(world: World): void {
  const { agenda, facts, guest, random, workloads } = world;
  world.trace('power cut');
  facts.powerCuts++;
  forgetDeadlines(facts);
  guest.disk.losePower(() => random.chance(0.5));
  for (const workload of workloads.get(guest.name) ?? []) workload.note();
  world.process?.kill('the power is gone');
  guest.bootedAt = agenda.now();
  boot(world);
}

/** Where nothing stands in the way, the eviction is handled. */
function checkCalm({ facts, plan }: World): void {
  const [event] = plan.events;
  if (event === undefined || facts.violations.length > 0) return;
  if (!facts.acks.some(({ acceptedAt }) => acceptedAt !== undefined))
    facts.violations.push(`nothing went wrong, and ${event.id} was not acknowledged`);
}

function countsOf({ facts, ledger, plan, processes }: World): Record<string, number> {
  return {
    calm: Number(plan.isCalm),
    events: plan.events.length,
    processes,
    crashes: facts.crashes,
    powerCuts: facts.powerCuts,
    hooks: facts.hooks.length,
    takeovers: ledger.entries.filter(({ kind }) => kind === 'takeover').length,
    checkpoints: ledger.entries.filter(({ kind }) => kind === 'checkpoint').length,
    partials: ledger.entries.filter(({ isPartial }) => isPartial).length,
    removed: ledger.entries.filter(({ removedAt }) => removedAt < Infinity).length,
    claims: facts.claims.length,
    others: plan.others.length,
    acks: facts.acks.length,
    notifications: facts.tells.length,
  };
}
