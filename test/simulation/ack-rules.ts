import type { HookPolicy, Policy } from '../../src/core/policy.ts';
import { hookApplies } from '../../src/core/policy.ts';
import type { ClaimFact, HookFact } from './facts.ts';
import type { GuestProcess } from './guest.ts';
import type { SimulatedEvent } from './imds.ts';
import type { EntryFact, Ledger } from './ledger.ts';
import { SELF } from './plan.ts';
import type { RuleSources } from './rules.ts';

type Broken = (what: string) => void;

interface Ack {
  readonly event: SimulatedEvent;
  readonly process: GuestProcess;
}

/** Everything that is required was done before an ack is sent. */
export function checkWork(policy: Policy, sources: RuleSources, ack: Ack, broken: Broken): void {
  const { facts, mayForget } = sources;
  const all = checkRuns(policy, sources, ack, facts.hooks);
  // A disk that failed may have lost a whole drain: then the one before it counts.
  const drains = mayForget() ? [...Map.groupBy(facts.hooks, ({ request }) => request.drainId).values()] : [];
  const checked = [all, ...drains.map((hooks) => checkRuns(policy, sources, ack, hooks))];
  const { problems, claims } = checked.find((one) => one.problems.length === 0) ?? all;
  for (const problem of problems) broken(problem);
  // What the ack gives away has to be in there.
  facts.claims.push(...claims);
}

interface Checked {
  readonly problems: string[];
  readonly claims: ClaimFact[];
}

function checkRuns(
  policy: Policy,
  { facts, config, ledger, versionsOf, now, mayForget }: RuleSources,
  { event, process }: Ack,
  hooks: readonly HookFact[],
): Checked {
  const problems: string[] = [];
  const claims: ClaimFact[] = [];
  /** A disk that failed may have lost that it was begun again; then the run before it counts. */
  const lastRun = ({ name }: HookPolicy) =>
    hooks.findLast(({ request, result }) => request.name === name && (result !== undefined || !mayForget()));
  const seen = {
    ...event,
    status: 'Scheduled',
    notBefore: undefined,
    description: '',
    durationSeconds: undefined,
  } as const;
  for (const hook of policy.hooks) {
    if (!hook.required || hook.stage === 'on-resume' || !hookApplies(policy, hook, seen)) continue;
    if (lastRun(hook)?.result?.kind !== 'succeeded')
      problems.push(`an ack for ${event.id} though hook ${hook.name} did not succeed`);
  }
  const hooksEndedAt = Math.max(
    ...policy.hooks
      .filter(({ stage }) => stage === 'before-checkpoint')
      .map((hook) => successAt(lastRun(hook))),
    Math.min(...[...facts.notices.values()].map(({ firstAt }) => firstAt)),
  );
  for (const { name: set } of config.checkpoint?.sets ?? []) {
    // One that somebody asked for after the drain's, and that lacks something, takes nothing from the drain's.
    const newest = ledger
      .there(set)
      .findLast(({ kind, writer, isWhole }) => kind === 'checkpoint' && writer === SELF && isWhole);
    const span = { madeAt: newest?.at ?? 0, since: hooksEndedAt, until: now() };
    const isOfNow = newest !== undefined && (newest.at >= hooksEndedAt || versionsOf(set, span).length > 0);
    if (!isOfNow) {
      problems.push(`an ack for ${event.id} though ${set} was not committed since the hooks ended`);
      continue;
    }
    checkNewest(ledger, process, { claimed: newest, since: Math.min(hooksEndedAt, now()) }, (what) =>
      problems.push(what),
    );
    claims.push({ set, id: newest.id, writer: SELF, since: hooksEndedAt, at: now() });
  }
  return { problems, claims };
}

/** One that fails may go on for a while after it was given up. */
function successAt(run: HookFact | undefined): number {
  return run?.result?.kind === 'succeeded' ? (run.endedAt ?? 0) : 0;
}

/**
 * A checkpoint that is said to be committed has all there is, nobody else had written after it, nor between it and the
 * moment at which its writer took the set over.
 */
export function checkNewest(
  { entries }: Ledger,
  { role }: GuestProcess,
  { claimed, since }: { readonly claimed: EntryFact; readonly since: number },
  broken: Broken,
): void {
  const { set, id, epoch, at } = claimed;
  const what = `${set} ${id} is said to be committed by ${role}`;
  if (!claimed.isWhole) broken(`${what}, though it says itself that it lacks something`);
  const until = Math.max(at, since);
  const others = entries.filter((one) => one.set === set && one.role !== role && one.removedAt > until);
  // Where it has taken the set over since, what it found is what there is to be saved.
  const own = entries.filter((one) => one.set === set && one.role === role);
  const newest = own.reduce((highest, one) => (one.id > highest ? one.id : highest), id);
  for (const one of others.filter((other) => other.id > newest && other.at < until))
    broken(`${what}, though ${one.kind} ${one.id} of ${one.role} was there before`);
  // What another one has left is fine, where it is just what there is to be saved.
  if (claimed.role !== role) return;
  const isTakeover = (one: EntryFact) => one.kind === 'takeover' && one.epoch === epoch && one.id < id;
  const takeover = entries.findLast((one) => one.set === set && one.at < at && isTakeover(one));
  if (takeover === undefined) return broken(`${what}, which never took the set over`);
  // A copy of a disk knows all that the other one was about to write, and goes on from that.
  const inherited = takeover.role === role ? undefined : own.find((one) => one.epoch === epoch)?.at;
  const ownedSince = inherited ?? takeover.at;
  const isBetween = (one: EntryFact) => one.id > takeover.id && one.id < id && one.at > ownedSince;
  for (const one of others.filter((other) => other.wasNewest && isBetween(other)))
    broken(`${what}, though ${one.kind} ${one.id} of ${one.role} came between`);
}
