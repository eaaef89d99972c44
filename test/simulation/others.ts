import { boundedSignal } from '../../src/base/abort.ts';
import { EvictdError, messageOf } from '../../src/base/errors.ts';
import { type Checkpointer, createCheckpointer } from '../../src/checkpoint/commit/checkpointer.ts';
import { restoreSet } from '../../src/checkpoint/restore/restore-set.ts';
import { pruneSet } from '../../src/checkpoint/retention/prune.ts';
import { lockState } from '../../src/journal/state-lock.ts';
import { createOtherVm, startBeside } from './beside.ts';
import { type Guest, type GuestProcess, running } from './guest.ts';
import { KEY, type OtherPlan, type OtherStep, PREFIX, SELF } from './plan.ts';
import { simulatedWorkers } from './sim-workers.ts';
import { type Workload, createWorkload } from './workload.ts';
import type { World } from './world.ts';

const WORK_MS = 60_000;

/** Somebody else who works on the same checkpoints. */
interface Other {
  readonly world: World;
  readonly plan: OtherPlan;
  readonly guest: Guest;
  readonly workloads: readonly Workload[];
  process: GuestProcess;
  checkpointer: Checkpointer | undefined;
}

/**
 * Others who commit to, prune and restore the same checkpoints: another VM with the same key, be it by mistake or because
 * it takes over; a second container here; this VM's disk in another one; `evictd checkpoint` by itself; a laptop.
 */
export function arrangeOthers(world: World): void {
  const { agenda, plan } = world;
  for (const [index, other] of plan.others.entries()) {
    agenda.at(other.startsAt, () => void begin(world, other, `${other.kind}_${index}`));
  }
  let more = 0;
  world.onPaused = (forMs) => {
    if (!world.random.chance(0.6)) return;
    if (world.random.chance(0.5)) void begin(world, successor(world, forMs), `successor_${more++}`);
    else world.tidyWithin(forMs / 2);
  };
  world.tidyWithin = (ms) => void begin(world, tidier(world, ms), `tidier_${more++}`);
}

/** Somebody who prunes while others rely on what was there. */
function tidier({ agenda, random }: World, withinMs: number): OtherPlan {
  const startsAt = agenda.now();
  const steps = [{ at: startsAt + random.between(0, withinMs), what: 'prune' as const }];
  return { kind: 'laptop', startsAt, restoresFirst: false, steps, freezes: [], sleeps: false };
}

/** A VM that takes over what somebody who is paused is about to write to, and goes far on meanwhile. */
function successor({ agenda, random }: World, forMs: number): OtherPlan {
  const startsAt = agenda.now();
  const steps = (['commit', 'commit', 'commit', 'prune'] as const).map((what, index) => ({
    at: startsAt + (forMs * (index + random.between(0.2, 1))) / 4,
    what,
  }));
  return { kind: 'vm', startsAt, restoresFirst: false, steps, freezes: [], sleeps: false };
}

async function begin(world: World, plan: OtherPlan, role: string): Promise<void> {
  const { agenda } = world;
  if (world.isOver) return;
  const other = arrive(world, plan, role);
  world.trace(`${role} begins`);
  for (const { at, forMs } of plan.freezes) {
    agenda.at(at, () => {
      if (other.guest === world.guest) return;
      other.guest.frozenUntil = Math.max(other.guest.frozenUntil, agenda.now() + forMs);
      // A machine that sleeps has no monotonic time meanwhile.
      if (plan.sleeps) other.guest.bootedAt += forMs;
    });
  }
  if (plan.restoresFirst) await within(other, () => takeSetsOver(other));
  for (const step of plan.steps) agenda.at(step.at, () => take(other, step));
}

function take(other: Other, step: OtherStep): void {
  const { world, guest, plan } = other;
  const { agenda, random } = world;
  if (!guest.isAlive) return;
  if (guest.frozenUntil > agenda.now()) return void agenda.at(guest.frozenUntil, () => take(other, step));
  world.trace(`${other.process.role}: ${step.what}`);
  if (guest !== world.guest && plan.kind !== 'laptop' && random.chance(0.7))
    for (const workload of other.workloads) workload.work();
  if (step.what === 'restart') {
    other.process.kill('restarted');
    other.process = startBeside(world, guest, other.process.role);
    other.checkpointer = undefined;
    return;
  }
  void within(other, () => (plan.kind === 'command' ? oneShot(other) : work(other, step.what)));
}

/** What fails has promised nothing. */
async function within(other: Other, run: () => Promise<void>): Promise<void> {
  const { world, process } = other;
  await running.run(process, run).catch((error: unknown) => {
    if (!(error instanceof EvictdError) && process.isAlive())
      world.facts.violations.push(
        `${process.role} broke: ${error instanceof Error ? error.stack : String(error)}`,
      );
    else world.trace(`${process.role}: ${messageOf(error)}`);
  });
}

function arrive(world: World, plan: OtherPlan, role: string): Other {
  const { agenda, random } = world;
  const sets = setsOf(world).map(({ name }) => name);
  const isHere = plan.kind === 'command' || plan.kind === 'container';
  const guest = isHere ? world.guest : createOtherVm(world, role);
  const workloads = isHere ? (world.workloads.get(SELF) ?? []) : [];
  const process = startBeside(world, guest, plan.kind === 'command' ? 'daemon' : role);
  const other: Other = { world, plan, guest, workloads, process, checkpointer: undefined };
  const parts = { disk: guest.disk, agenda, random };
  if (isHere || plan.kind === 'laptop') return other;
  if (plan.kind === 'clone') {
    guest.disk.copyOf(world.guest.disk);
    guest.bootId = world.guest.bootId;
    guest.bootedAt = world.guest.bootedAt;
  }
  const versionsOf = (set: string) =>
    world.workloads.get(SELF)?.find((one) => one.set === set)?.versions ?? [];
  const own = sets.map((set) =>
    plan.kind === 'clone'
      ? createWorkload({ set, files: 0, versions: versionsOf(set) }, parts)
      : createWorkload({ set, ...(plan.restoresFirst && { files: 0 }) }, parts),
  );
  world.workloads.set(guest.name, own);
  return { ...other, workloads: own };
}

function setsOf({ plan }: World) {
  return plan.config.checkpoint?.sets ?? [];
}

async function takeSetsOver(other: Other): Promise<void> {
  for (const workload of other.workloads) {
    await restore(other, workload.set, workload.path).catch((error: unknown) => {
      if (!(error instanceof EvictdError)) throw error;
    });
    workload.note();
  }
}

async function restore({ world, process }: Other, set: string, target: string): Promise<void> {
  const place = { prefix: PREFIX, key: KEY, set };
  const workers = simulatedWorkers(process);
  using bound = boundedSignal(process.clock, WORK_MS);
  try {
    const { id } = await restoreSet(
      { place, target },
      { store: workers.store, workers, clock: process.clock },
      bound.signal,
    );
    world.trace(`${process.role}: restored ${set} ${id}`);
  } catch (error) {
    // Whatever is going on: what is there is whole, or isn't there.
    if (error instanceof EvictdError && ['bad-tree', 'corrupt-chunk', 'bad-manifest'].includes(error.code))
      world.facts.violations.push(`${process.role} can't restore ${set}: ${error.message}`);
    throw error;
  }
}

async function work(other: Other, what: OtherStep['what']): Promise<void> {
  const { world, process } = other;
  other.checkpointer ??= checkpointerOf(
    other,
    other.plan.kind === 'container' ? `/state/${process.role}` : '/state',
  );
  for (const { name: set } of setsOf(world)) {
    using bound = boundedSignal(process.clock, WORK_MS);
    const { signal } = bound;
    if (what === 'commit') await commit(other, other.checkpointer, set, signal);
    if (what === 'stage') await other.checkpointer.stage(set, signal);
    if (what === 'prune') await prune(other, set, signal);
    if (what === 'restore') await restore(other, set, `/back-${world.agenda.now()}`);
  }
}

/** `evictd checkpoint` where no daemon runs. */
async function oneShot(other: Other): Promise<void> {
  const { world, process } = other;
  using bound = boundedSignal(process.clock, WORK_MS);
  await using _lock = await lockState('/state', bound.signal);
  const checkpointer = checkpointerOf(other, '/state');
  for (const { name: set } of setsOf(world)) {
    await commit(other, checkpointer, set, bound.signal);
    await prune(other, set, bound.signal);
  }
  await checkpointer.close();
}

function checkpointerOf({ world, process }: Other, indexDirectory: string): Checkpointer {
  const { name, bootId } = process.guest;
  const workers = simulatedWorkers(process);
  return createCheckpointer(
    {
      prefix: PREFIX,
      key: KEY,
      sets: setsOf(world),
      writer: { vmName: name, vmId: `id of ${name}`, bootId },
      indexDirectory,
    },
    { store: workers.store, workers, clock: process.clock },
  );
}

async function commit(
  { world, process }: Other,
  checkpointer: Checkpointer,
  set: string,
  signal: AbortSignal,
) {
  const since = world.agenda.now();
  const result = await checkpointer.commit({ set, reason: 'command' }, signal);
  world.trace(`${process.role}: ${set} ${JSON.stringify(result)}`);
  if (result.kind === 'committed' && process.isAlive())
    world.rules.onClaim(process, { set, id: result.id, since });
}

async function prune({ world, process }: Other, set: string, signal: AbortSignal) {
  const { keep = 1 } = world.plan.config.checkpoint ?? {};
  const options = { place: { prefix: PREFIX, key: KEY, set }, keep, dryRun: false };
  const result = await pruneSet(options, { store: process.doors.store(process) }, signal);
  world.trace(`${process.role}: ${set} ${JSON.stringify(result)}`);
}
