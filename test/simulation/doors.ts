import type { StoreWeather } from './sim-store.ts';
import { fail } from './disk.ts';
import type { Doors, GuestProcess } from './guest.ts';
import type { HookRequest, HookResult } from '../../src/core/ports.ts';
import { runHook } from './hook-outcomes.ts';
import { createImds } from './imds.ts';
import type { SimulatedDocument, SimulatedEvent } from './imds.ts';
import { windowMs } from '../../src/core/budget.ts';
import { policyOf } from '../../src/daemon/policy.ts';
import { WALL_EPOCH } from './guest.ts';
import { SELF } from './plan.ts';
import { connectStore } from './sim-store.ts';
import type { World } from './world.ts';

const CRASH_SOON_MS = 2000;

/** What a process of this world meets outside of itself. */
export function createDoors(world: World): Doors {
  const { plan, agenda, random, facts, rules, service, ledger } = world;
  const isQuiet = () => agenda.now() >= plan.quietFrom || !world.guest.isAlive;
  const isOutage = () => plan.outage.from <= agenda.now() && agenda.now() < plan.outage.until;
  const weather: StoreWeather = {
    trouble: () => (isQuiet() ? 0 : isOutage() ? 0.9 : plan.storeTrouble),
    bytesPerMs: plan.bytesPerMs,
    latencyMs: plan.latencyMs,
    late: plan.late,
    isKept: (name) => plan.keptEntries.some((id) => name.endsWith(`/checkpoints/${id}.json`)),
    onEffect: ledger.onEffect,
    onTorn: (name) => void facts.violations.push(`${name} was changed while it was being sent`),
  };
  const imds = createImds(
    {
      events: plan.events,
      vmName: SELF,
      trouble: () => (isQuiet() ? 0 : plan.imdsTrouble),
      onDocument: (process, document) => noteDocument(world, process, document),
      onAckSent(process, eventId) {
        world.trace(`ack of ${eventId} sent`);
        rules.onAck(process, eventId);
        facts.acks.push({ process, eventId, at: agenda.now(), acceptedAt: undefined });
      },
      onAckTaken: (event) => onAckTaken(world, event),
      onAckAnswered(process, eventId) {
        const ack = facts.acks.findLast((one) => one.process === process && one.eventId === eventId);
        if (ack !== undefined) ack.acceptedAt ??= agenda.now();
      },
    },
    { agenda, random },
  );
  return {
    crashPoint(process, what) {
      // Where an effect begins, there is most to remember.
      const likely = plan.crashes.likely * (what.startsWith('hook') || what === 'before the ack' ? 5 : 1);
      const isDue = agenda.now() >= plan.crashes.from && facts.crashes < plan.crashes.most;
      if (isQuiet() || !isDue || !process.isAlive() || process !== world.process) return;
      if (!random.chance(likely)) return;
      facts.crashes++;
      process.kill(what);
    },
    async pausePoint({ guest, clock, role }, operation, name) {
      const likely = operation === 'list' ? plan.pauses.likely / 4 : plan.pauses.likely;
      const isWorst = operation === 'list' || (operation === 'create' && name.includes('/checkpoints/'));
      if (!isWorst || guest === world.guest || world.isOver || !random.chance(likely)) return;
      const forMs = random.between(0, plan.pauses.forMs);
      world.trace(`${role} is paused for ${Math.round(forMs)} ms before ${name}`);
      guest.frozenUntil = Math.max(guest.frozenUntil, agenda.now() + forMs);
      if (operation === 'create') world.onPaused(forMs);
      await new Promise<void>((resolve) => void clock.timer(0, resolve));
    },
    diskTrouble: (process, what, path) => diskTrouble(world, process, what, path),
    ask: imds.ask,
    runHook(process, request, signal) {
      world.trace(
        `hook ${request.name} of ${request.drainId}, attempt ${request.attempt}, ${Math.round(request.timeoutMs)} ms`,
      );
      rules.onHook(process, request);
      const isCalm = plan.isCalm || isQuiet();
      const onEnd = ({ stage }: HookRequest, { kind }: HookResult) => {
        if (kind === 'succeeded' && stage === 'before-checkpoint') world.isStopped = true;
        if (!isQuiet() && random.chance(plan.crashes.afterHook)) crashSoon(world, process);
      };
      return runHook(process, request, signal, { facts, random, now: agenda.now, isCalm, onEnd });
    },
    store: (process) => connectStore(service, process, weather, { agenda, random }),
    async tell(process, receiver, news, signal) {
      await new Promise<void>((resolve, reject) => {
        const afterMs = random.between(1, plan.isCalm ? 50 : 1500);
        const timer = process.clock.timer(afterMs, () => {
          rules.onTold(process, receiver, news.id);
          facts.tells.push({ process, receiver, id: news.id, answeredAt: agenda.now() });
          resolve();
        });
        signal.addEventListener('abort', () => {
          timer[Symbol.dispose]();
          reject(new Error('aborted'));
        });
      });
    },
    control(_process, handlers) {
      world.handlers = handlers;
    },
  };
}

/** In what is left of a drain, so that the next process has to know what has ended. */
function crashSoon({ agenda, facts, plan, random }: World, process: GuestProcess): void {
  agenda.after(random.between(0, CRASH_SOON_MS), () => {
    if (facts.crashes >= plan.crashes.most || !process.isAlive()) return;
    facts.crashes++;
    process.kill('after a hook');
  });
}

function noteDocument(
  world: World,
  process: GuestProcess,
  { events, started, date, askedAt }: SimulatedDocument,
): void {
  const { agenda, facts, plan, guest } = world;
  const at = agenda.now();
  const last = facts.documents.at(-1);
  // One that was asked for before the newest one is no news.
  if (last?.process === process && last.askedAt > askedAt) return;
  const ids = new Set(events.map(({ id }) => id));
  facts.documents.push({ at, process, askedAt, ids });
  for (const [id, notice] of facts.notices) {
    // Gone for the daemon, so that it comes anew if it comes.
    if (!ids.has(id) && last?.ids.has(id) === false) notice.deadlineAt = Infinity;
  }
  const policy = policyOf(plan.config, []);
  for (const event of events) {
    const status = started.has(event.id) ? 'Started' : 'Scheduled';
    const notBefore =
      status === 'Started' ? undefined : WALL_EPOCH + Math.floor(event.notBefore / 1000) * 1000;
    const seen = { ...event, status, notBefore, description: '', durationSeconds: undefined } as const;
    const deadlineAt = at + windowMs(policy, seen, WALL_EPOCH + date) / guest.rate;
    const known = facts.notices.get(event.id);
    if (known !== undefined && known.deadlineAt <= deadlineAt) continue;
    const firstAt = known?.firstAt ?? at;
    const deadlineBefore = known?.deadlineAt;
    facts.notices.set(event.id, { event, firstAt, deadlineAt, deadlineBefore, changedAt: at });
  }
}

/** An ack may bring the eviction forward. */
function onAckTaken({ agenda, random, plan, guest, trace }: World, event: SimulatedEvent): void {
  trace(`ack of ${event.id} taken`);
  const isShared = event.resources.length > 1;
  if (plan.isCalm || isShared || !['Preempt', 'Terminate'].includes(event.type) || random.chance(0.3)) return;
  agenda.after(random.between(0, 5000), () => {
    if (event.goneAt === Infinity) guest.isAlive = false;
  });
}

async function diskTrouble(world: World, { clock }: GuestProcess, what: string, path: string): Promise<void> {
  const { plan, agenda, random } = world;
  if (agenda.now() >= plan.quietFrom || !path.startsWith('/state') || !random.chance(plan.diskTrouble))
    return;
  world.diskHasFailed = true;
  const how = random.pick(['full', 'broken', 'hangs']);
  if (how === 'hangs')
    await new Promise<void>((resolve) => void clock.timer(random.between(1, 5000), resolve));
  else if (how === 'full' && (what === 'write' || what === 'create')) fail('ENOSPC', path);
  else if (how === 'broken' && what === 'sync') fail('EIO', path);
}
