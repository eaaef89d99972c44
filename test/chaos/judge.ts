import { isDeepStrictEqual } from 'node:util';

import type { AckEntry } from '../../src/mock/world.ts';
import { AZURITE_KEY } from '../support/azurite.ts';
import type { Plan } from './plan.ts';
import type { Supervisor } from './supervisor.ts';

type Tree = Readonly<Record<string, string>>;

export interface Evidence {
  readonly plan: Plan;
  readonly trees: {
    /** Of the first checkpoint. */
    readonly old: Tree;
    /** At the notice. */
    readonly written: Tree;
    /** At the end, with what the hook did. */
    readonly last: Tree;
    /** What the newest checkpoint restores to. */
    readonly found: Tree;
  };
  readonly eventId: string;
  readonly isAcked: boolean;
  readonly acks: readonly AckEntry[];
  /** `NAME ATTEMPT` of each start, in order. */
  readonly hookStarts: readonly string[];
  readonly daemon: Supervisor;
}

/** Which state the newest checkpoint restores to; `mixed` is none that there ever was. */
export type Restored = 'new' | 'new without its hook' | 'old' | 'mixed';

/** What must not be, in words. */
export function judge(evidence: Evidence): { restored: Restored; violations: readonly string[] } {
  const restored = recognize(evidence);
  const violations = [
    ...judgeCheckpoint(evidence, restored),
    ...judgeAcks(evidence),
    ...judgeHooks(evidence),
    ...judgeLives(evidence),
  ];
  return { restored, violations };
}

function recognize({ trees: { old, written, last, found }, isAcked }: Evidence): Restored {
  // After a crash a hook may run again, and write the same at another time; but not once all is done.
  const view = isAcked ? (tree: Tree) => tree : withoutTimes;
  const is = (tree: Tree) => isDeepStrictEqual(view(found), view(tree));
  if (is(last)) return 'new';
  if (is(old)) return 'old';
  return is(written) ? 'new without its hook' : 'mixed';
}

function judgeCheckpoint({ plan, trees, isAcked }: Evidence, restored: Restored): string[] {
  if (plan.notice === 'long' && !isAcked) return ['the drain did not end, with all the time it wanted'];
  const isWrong = isAcked ? restored !== 'new' : restored === 'mixed';
  return isWrong ? [`restored is ${restored}: ${difference(trees.found, trees.last)}`] : [];
}

function judgeAcks({ plan, acks, eventId }: Evidence): string[] {
  const others = acks.filter((ack) => ack.eventId !== eventId);
  const violations = others.map((ack) => `acknowledged ${ack.eventId}, which was never announced`);
  if (acks.length > 1 && !forgets(plan)) violations.push(`acknowledged ${acks.length} times`);
  return violations;
}

function judgeHooks({ plan, hookStarts, isAcked, daemon }: Evidence): string[] {
  const violations: string[] = [];
  for (const name of ['stop-workers', 'tell']) {
    const attempts = hookStarts.flatMap((line) => (line.startsWith(`${name} `) ? [line] : []));
    if (isAcked && attempts.length === 0) violations.push(`acknowledged without the hook ${name}`);
    if (attempts.length > daemon.lives.length) {
      violations.push(`${name} was started ${attempts.length} times in ${daemon.lives.length} lives`);
    }
    const isAscending = attempts.every((line, index) => line === `${name} ${index + 1}`);
    if (!isAscending && !forgets(plan)) violations.push(`attempts of a hook: ${attempts.join(', ')}`);
  }
  return violations;
}

function judgeLives({ daemon }: Evidence): string[] {
  const violations = daemon.exits.map((code) => `the daemon ended by itself with ${code}`);
  const outputs = daemon.lives.map((life) => life.output());
  if (outputs.some((output) => output.includes(AZURITE_KEY)))
    violations.push('the key of the store was printed');
  return violations;
}

/** Killed while its state can't be written, the daemon doesn't know what it has done. */
function forgets(plan: Plan): boolean {
  return plan.faults.some(({ kind }) => kind === 'disk-full');
}

function withoutTimes(tree: Tree): Record<string, string> {
  const entries = Object.entries(tree);
  return Object.fromEntries(entries.map(([path, facts]) => [path, facts.replace(/^(\w+ \d+) \d+/, '$1')]));
}

function difference(one: Tree, other: Tree): string {
  const paths = [...new Set([...Object.keys(one), ...Object.keys(other)])];
  const different = paths.filter((path) => one[path] !== other[path]);
  return different
    .map((path) => `${path}: ${one[path] ?? 'nothing'} instead of ${other[path] ?? 'nothing'}`)
    .join('; ');
}
