import * as fc from 'fast-check';

/** What can go wrong in a round. Those that take away what the whole machine has need root, and a namespace for it. */
export const FAULTS = [
  /** The daemon gets SIGKILL; it is started again as by systemd. */
  'kill',
  /** SIGSTOP, later SIGCONT. */
  'freeze',
  /** Azurite is ended and started again; it keeps what it has acknowledged. */
  'store-down',
  /** Connections to the store end at every point of a request, also after the store did what was asked. */
  'cut',
  /** The metadata service hangs, fails, answers rubbish. */
  'imds',
  /** No space is left in the state folder. */
  'disk-full',
  /** The daemon's wall clock steps. */
  'clock',
  /** No address can be reached. */
  'no-route',
] as const;
export type FaultKind = (typeof FAULTS)[number];

export interface PlannedFault {
  readonly kind: FaultKind;
  /** From the start of the round. */
  readonly atMs: number;
  readonly forMs: number;
  /** Which of the fault's variants. */
  readonly variant: number;
}

export interface Plan {
  readonly faults: readonly PlannedFault[];
  readonly noticeAtMs: number;
  /**
   * `long`: however slow the machine is there is time, so all has to end well. `short`: the VM is gone when this is
   * over, and there is the old checkpoint or the new one.
   */
  readonly notice: 'long' | 8 | 15;
  /** That its large file fills. */
  readonly packs: number;
  readonly hookMs: number;
  readonly compress: boolean;
  /** Is anything staged before the notice? */
  readonly background: boolean;
}

/** The same for the same seed. */
export function planOf(seed: number, kinds: readonly FaultKind[]): Plan {
  const fault = fc.record({
    kind: fc.constantFrom(...kinds),
    atMs: fc.integer({ min: 0, max: 5000 }),
    forMs: fc.integer({ min: 50, max: 2500 }),
    variant: fc.nat(1000),
  });
  const plan = fc.record({
    faults: fc.array(fault, { minLength: 1, maxLength: 6, size: 'max' }),
    noticeAtMs: fc.integer({ min: 0, max: 2500 }),
    notice: fc.constantFrom('long' as const, 'long' as const, 'long' as const, 8 as const, 15 as const),
    packs: fc.integer({ min: 1, max: 3 }),
    hookMs: fc.integer({ min: 0, max: 1500 }),
    compress: fc.boolean(),
    background: fc.boolean(),
  });
  const [first] = fc.sample(plan, { seed, numRuns: 1 });
  if (first === undefined) throw new Error(`no plan for seed ${seed}`);
  return first;
}
