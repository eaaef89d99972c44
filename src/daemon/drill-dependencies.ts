import type { Clock } from '../base/clock.ts';
import type { Effect } from '../core/effect.ts';
import type { Log } from '../observe/log.ts';

export interface DrillDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly logLines: () => readonly string[];
  /** What goes on, as the drain tells it. */
  readonly onNote: (note: Extract<Effect, { kind: 'note' }>) => void;
  /** What goes on besides, one sentence each. */
  readonly onProgress: (text: string) => void;
}
