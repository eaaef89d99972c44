import type { Config } from '../../src/config/schema.ts';
import { eventPolicy } from '../../src/core/policy.ts';
import type { HookRequest } from '../../src/core/ports.ts';
import type { Status } from '../../src/daemon/status.ts';
import { policyOf } from '../../src/daemon/policy.ts';
import type { AckFact, Facts } from './facts.ts';
import type { GuestProcess } from './guest.ts';
import type { SimulatedEvent } from './imds.ts';
import { checkNewest, checkWork } from './ack-rules.ts';
import type { Ledger } from './ledger.ts';
import { RESERVE_MS, SELF } from './plan.ts';
import type { Span, Tree } from './workload.ts';

/** What must never happen, whatever else does. Each rule looks at the facts and adds what breaks it. */
export interface Rules {
  onHook(process: GuestProcess, request: HookRequest): void;
  onAck(process: GuestProcess, eventId: string): void;
  /** `since`: when that commit began, or nothing is known before. */
  onClaim(
    process: GuestProcess,
    claim: { readonly set: string; readonly id: string; readonly since: number },
  ): void;
  onConflict(set: string): void;
  onTold(process: GuestProcess, receiver: string, id: string): void;
  /** The daemon says so of itself; `settledMs`: for so long nothing has kept it from going on. */
  onStatus(status: Status, settledMs: number): void;
}

export interface RuleSources {
  readonly config: Config;
  readonly events: readonly SimulatedEvent[];
  readonly facts: Facts;
  readonly ledger: Ledger;
  /** Of our set's files. */
  readonly versionsOf: (set: string, span: Span) => readonly Tree[];
  readonly now: () => number;
  /** The disk may have lost what the daemon wrote. */
  readonly mayForget: () => boolean;
}

/** Whole seconds in both headers, and a window that shrinks by less than that is left as it is. */
const JITTER_MS = 1100;
/** From an answer to the note of it on disk. */
export const KEPT_MS = 60;
/** A disk that hangs is waited for so long: what was learnt meanwhile comes after that. */
const HANGS_MS = 1100;
const BUSY: ReadonlySet<string> = new Set([
  'before-checkpoint',
  'checkpoint',
  'after-checkpoint',
  'report',
  'ack',
]);

export function createRules(sources: RuleSources): Rules {
  const { config, events, facts, ledger, now } = sources;
  const policy = policyOf(config, []);
  const broken = (what: string) => void facts.violations.push(what);
  let seen: { readonly eventId: string; readonly at: number } | undefined;
  const eventOf = (id: string) => events.find((event) => event.id === id);

  /** Did its process live on long enough to remember it? */
  const isRemembered = (process: GuestProcess, at: number) =>
    !sources.mayForget() && (facts.diedAt.get(process) ?? Infinity) - at > KEPT_MS;

  return {
    onHook(process, request) {
      const event = eventOf(request.event.id);
      if (event === undefined || !isOwn(event))
        return broken(`hook ${request.name} runs for another VM's event`);
      checkTimeout(sources, request, broken);
      const before = facts.hooks.filter(({ request: other }) => isSameHook(other, request));
      for (const one of before) {
        const twice = `hook ${request.name} runs twice for ${event.id}, as attempts ${one.request.attempt} and ${request.attempt}`;
        if (one.process === process) broken(twice);
        else if (one.request.attempt >= request.attempt && !sources.mayForget())
          broken(`${twice}, after a crash`);
        else if (one.result !== undefined && isRemembered(one.process, one.endedAt ?? now()))
          broken(`${twice}, though its result was known`);
      }
      const others = facts.hooks.filter(
        ({ request: other }) => other.event.id === event.id && other.drainId !== request.drainId,
      );
      for (const { request: other } of others.filter((one) => one.request.name === request.name)) {
        // After a crash one of its hooks may have begun anew when the event was gone already.
        const since = Math.min(
          ...others.filter((one) => one.request.drainId === other.drainId).map((one) => one.startedAt),
        );
        if (sources.mayForget() || wasAway(facts, event, since)) continue;
        broken(`hook ${request.name} runs for a second drain of ${event.id}, which was there all the time`);
      }
    },
    onAck(process, eventId) {
      const event = eventOf(eventId);
      if (event === undefined || !isOwn(event)) return broken(`an ack for another VM's event ${eventId}`);
      if (!config.events.ackShared && isShared(event)) broken(`an ack for the shared event ${eventId}`);
      const rule = eventPolicy(policy, event.type);
      if (rule === undefined || rule.ack === 'never') broken(`an ack for ${event.type}`);
      else if (rule.ack === 'user-initiated' && event.source !== 'User')
        broken(`an ack for ${event.type} of the platform`);
      else if (rule.drain && rule.ack === 'after-success')
        checkWork(policy, sources, { event, process }, broken);
      for (const one of facts.acks.filter((other) => other.eventId === eventId))
        if (isTwice(one, process)) broken(`a second ack for ${eventId}, though the first was accepted`);
    },
    onClaim(process, { set, id, since }) {
      const entry = ledger.of(set, id);
      if (entry?.kind !== 'checkpoint')
        return broken(`${set} ${id} is said to be committed, and has no manifest`);
      facts.claims.push({ set, id, writer: process.guest.name, since, at: now() });
      return checkNewest(ledger, process, { claimed: entry, since }, broken);
    },
    onConflict(set) {
      const isAlone = ledger.entries.every((one) => one.set !== set || one.role === 'daemon');
      if (isAlone && !sources.mayForget()) broken(`a conflict with nobody on ${set}`);
    },
    onTold(process, receiver, id) {
      for (const one of facts.tells.filter((other) => other.receiver === receiver && other.id === id))
        if (one.process === process || isRemembered(one.process, one.answeredAt))
          broken(`${receiver} is told twice of ${id}`);
    },
    onStatus({ phase, drain }, settledMs) {
      // One that begins late, as when the own name was not known before, has to end at once then.
      if (drain?.eventId !== seen?.eventId) seen = drain && { eventId: drain.eventId, at: now() };
      const deadlineAt = drain === undefined ? undefined : facts.notices.get(drain.eventId)?.deadlineAt;
      if (deadlineAt === undefined || seen === undefined || !BUSY.has(phase)) return;
      const lateMs = Math.min(settledMs, now() - seen.at, now() - deadlineAt - JITTER_MS);
      if (lateMs > (sources.mayForget() ? 3000 : 200))
        broken(`${phase} ${Math.round(lateMs)} ms after the deadline`);
    },
  };

  function isTwice({ process: first, acceptedAt }: AckFact, process: GuestProcess): boolean {
    if (acceptedAt === undefined) return false;
    return first === process || isRemembered(first, acceptedAt);
  }
}

function isOwn({ resources }: SimulatedEvent): boolean {
  return resources.some((name) => name.toLowerCase() === SELF);
}

function isShared({ resources }: SimulatedEvent): boolean {
  return resources.some((name) => name.toLowerCase() !== SELF);
}

function isSameHook(one: HookRequest, other: HookRequest): boolean {
  return one.drainId === other.drainId && one.name === other.name;
}

/** Two documents in a row without it mean that it is gone. */
function wasAway({ documents, powerCuts }: Facts, { id }: SimulatedEvent, since: number): boolean {
  if (powerCuts > 0) return true;
  const after = documents.filter(({ at }) => at >= since);
  return after.some(({ ids }, index) => !ids.has(id) && after[index + 1]?.ids.has(id) === false);
}

function checkTimeout(
  { facts, now, mayForget }: RuleSources,
  request: HookRequest,
  broken: (what: string) => void,
): void {
  const notice = facts.notices.get(request.event.id);
  if (notice === undefined)
    return broken(`hook ${request.name} runs for ${request.event.id}, which nobody has seen`);
  if (request.stage === 'on-resume') return;
  const isNew = mayForget() && now() - notice.changedAt < HANGS_MS;
  // What was forgotten since then is no earlier for that.
  const deadlineAt = Math.max(notice.deadlineAt, (isNew ? notice.deadlineBefore : undefined) ?? -Infinity);
  const overMs = now() + request.timeoutMs - (deadlineAt - RESERVE_MS) - JITTER_MS;
  // What was decided is done once the disk has it, or hangs for too long.
  if (overMs > (mayForget() ? HANGS_MS : 100))
    broken(`hook ${request.name} may run ${Math.round(overMs)} ms past the end of work`);
}
