import type { HookRequest, HookResult } from '../../src/core/ports.ts';
import type { GuestProcess } from './guest.ts';
import type { SimulatedEvent } from './imds.ts';

/** What happened in the simulated world, as somebody who sees everything would write it down. Times in ms. */
export interface Facts {
  readonly violations: string[];
  readonly documents: {
    readonly at: number;
    readonly process: GuestProcess;
    readonly askedAt: number;
    readonly ids: ReadonlySet<string>;
  }[];
  /** By event: when a process first had it in a document, and how long it may think that it has. */
  readonly notices: Map<string, Notice>;
  readonly hooks: HookFact[];
  /** What the program said it has committed: the files of that VM as they were at `since` or after it. */
  readonly claims: ClaimFact[];
  readonly acks: AckFact[];
  readonly tells: TellFact[];
  readonly diedAt: Map<GuestProcess, number>;
  crashes: number;
  powerCuts: number;
}

export interface Notice {
  readonly event: SimulatedEvent;
  readonly firstAt: number;
  deadlineAt: number;
  /** What it was until then. */
  readonly deadlineBefore: number | undefined;
  /** When it was last set. */
  changedAt: number;
}

export interface ClaimFact {
  readonly set: string;
  readonly id: string;
  /** Name of the VM. */
  readonly writer: string;
  readonly since: number;
  readonly at: number;
}

export interface HookFact {
  readonly process: GuestProcess;
  readonly request: HookRequest;
  readonly startedAt: number;
  endedAt: number | undefined;
  result: HookResult | undefined;
}

export interface AckFact {
  readonly process: GuestProcess;
  readonly eventId: string;
  readonly at: number;
  acceptedAt: number | undefined;
}

export interface TellFact {
  readonly process: GuestProcess;
  readonly receiver: string;
  readonly id: string;
  readonly answeredAt: number;
}

/** What the daemon has learnt since then is lost: it begins anew with the next document. */
export function forgetDeadlines({ notices }: Facts, since = 0): void {
  for (const notice of notices.values()) if (notice.changedAt >= since) notice.deadlineAt = Infinity;
}

export function createFacts(): Facts {
  return {
    violations: [],
    documents: [],
    notices: new Map(),
    hooks: [],
    claims: [],
    acks: [],
    tells: [],
    diedAt: new Map(),
    crashes: 0,
    powerCuts: 0,
  };
}
