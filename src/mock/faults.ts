import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import type { FaultSpec } from './schema.ts';

export type PathClass = 'events' | 'ack' | 'instance' | 'token';

export interface Faults {
  /** Throws `too-many-faults`. */
  add(fault: FaultSpec): void;
  /** What hits this request; counts it. */
  take(path: PathClass): readonly FaultSpec[];
  list(): readonly FaultSpec[];
  clear(): void;
}

const FAULTS_MAX = 100;

interface ActiveFault {
  readonly fault: FaultSpec;
  readonly endsAt: MonotonicMs;
  left: number;
}

/** The faults that are on. Each ends by its count, by its time, or when all are cleared. */
export function createFaults(clock: Clock): Faults {
  let active: ActiveFault[] = [];
  const prune = () => {
    const now = clock.monotonicMs();
    active = active.filter((each) => each.left > 0 && now < each.endsAt);
  };
  return {
    add(fault) {
      prune();
      if (active.length >= FAULTS_MAX) {
        throw new EvictdError('too-many-faults', `there are ${FAULTS_MAX} faults already`, {
          remedy: 'clear them first',
        });
      }
      active.push({
        fault,
        endsAt: clock.monotonicMs() + (fault.for ?? Number.POSITIVE_INFINITY),
        left: fault.count ?? Number.POSITIVE_INFINITY,
      });
    },
    take(path) {
      prune();
      const hits = active.filter(({ fault }) => fault.on === 'all' || fault.on === path);
      for (const hit of hits) hit.left -= 1;
      return hits.map(({ fault }) => fault);
    },
    list() {
      prune();
      return active.map(({ fault }) => fault);
    },
    clear() {
      active = [];
    },
  };
}
