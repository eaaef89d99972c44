import { openDoors } from './boot.ts';
import type { LifeResult } from './life.ts';
import { MUTATIONS, type MutationName } from './mutations.ts';
import { watchImmediates } from './settled.ts';

export interface LivesPlan {
  readonly first: number;
  /** From one seed to the next. */
  readonly step: number;
  readonly lives: number;
  readonly minutes: number;
  readonly isTraced: boolean;
  readonly mutation: MutationName | undefined;
}

export interface LivesResult {
  readonly lives: number;
  readonly counts: Readonly<Record<string, number>>;
  /** The first life that broke a rule; it is the last one that was lived. */
  readonly failed: LifeResult | undefined;
}

const TOLD_EVERY_MS = 30_000;

/** Lives one after the other in this process, which is of no other use after that. */
export async function live({
  first,
  step,
  lives: most,
  minutes,
  isTraced,
  mutation,
}: LivesPlan): Promise<LivesResult> {
  openDoors(mutation === undefined ? [] : MUTATIONS[mutation].replacements);
  // The simulated disk fails by the thousand, and nobody reads where.
  if (!isTraced) Error.stackTraceLimit = 0;
  const { settled } = watchImmediates();
  // Only now: what it imports is to come through the doors.
  const { liveOnce } = await import('./life.ts');
  const strays: string[] = [];
  process.on('unhandledRejection', (error) => strays.push(`unhandled rejection: ${String(error)}`));
  const trace = isTraced ? (text: string) => console.log(text) : () => undefined;
  const startedAt = performance.now();
  const elapsedMs = () => performance.now() - startedAt;
  const counts: Record<string, number> = {};
  let lives = 0;
  let failed: LifeResult | undefined;
  for (let toldAt = 0; failed === undefined && lives < most && elapsedMs() < minutes * 60_000;) {
    const life = await liveOnce(first + lives * step, settled, trace);
    lives++;
    const violations = [...life.violations, ...strays];
    if (violations.length > 0) failed = { ...life, violations };
    for (const [what, number] of Object.entries(life.counts)) counts[what] = (counts[what] ?? 0) + number;
    if (elapsedMs() - toldAt < TOLD_EVERY_MS) continue;
    toldAt = elapsedMs();
    console.log(`${lives} lives from seed ${first} on`);
  }
  return { lives, counts, failed };
}
