import * as z from 'zod';

import { STAGES } from '../core/policy.ts';
import { DRAIN_PHASES, type State } from '../core/state.ts';

// The journal is our own file, but a disk that was full, an older version or a curious hand may have had it since.
const Event = z.strictObject({
  id: z.string(),
  type: z.string(),
  status: z.enum(['Scheduled', 'Started']),
  resources: z.array(z.string()),
  notBefore: optional(z.number()),
  source: optional(z.enum(['Platform', 'User'])),
  description: z.string(),
  durationSeconds: optional(z.number()),
});

const Ack = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('open') }),
  z.strictObject({ kind: z.literal('sending'), attempt: z.int(), endsAt: z.number() }),
  z.strictObject({ kind: z.literal('in-doubt'), attempt: z.int() }),
  z.strictObject({ kind: z.literal('retrying'), attempt: z.int(), retryAt: z.number() }),
  z.strictObject({ kind: z.literal('accepted') }),
  z.strictObject({ kind: z.literal('refused'), detail: z.string() }),
  z.strictObject({
    kind: z.literal('withheld'),
    reason: z.enum(['policy', 'shared', 'not-user-initiated', 'started', 'unsuccessful', 'too-late']),
  }),
]);

const Watched = z.strictObject({
  event: Event,
  firstSeenAt: z.number(),
  deadlineAt: optional(z.number()),
  absences: z.int(),
  survived: z.boolean(),
  checkpoint: z.enum(['none', 'taking', 'ended']),
  ack: Ack,
});

const HookResult = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('succeeded'), durationMs: z.number() }),
  z.strictObject({
    kind: z.literal('failed'),
    reason: z.enum(['exit', 'signal', 'timeout', 'refused', 'spawn', 'cancelled', 'gone']),
    detail: z.string(),
    durationMs: z.number(),
  }),
]);

const HookRunState = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('pending') }),
  z.strictObject({ kind: z.literal('running'), startedAt: z.number(), endsAt: z.number() }),
  z.strictObject({ kind: z.literal('ended'), startedAt: z.number(), result: HookResult }),
  z.strictObject({ kind: z.literal('skipped'), why: z.enum(['no-time', 'withdrawn']) }),
]);

const HookRun = z.strictObject({
  name: z.string(),
  stage: z.enum(STAGES),
  order: z.number(),
  required: z.boolean(),
  isGuest: z.literal(true).optional(),
  timeoutMs: z.number(),
  attempt: z.int(),
  run: HookRunState,
});

const PeerNotice = z.strictObject({
  id: z.string(),
  event: Event,
  absences: z.int(),
  hooks: z.array(HookRun.pick({ name: true, order: true, timeoutMs: true, attempt: true, run: true })),
});

const SetRun = z.strictObject({
  name: z.string(),
  priority: z.number(),
  attempt: z.int(),
  firstStartedAt: optional(z.number()),
  // Not in journals of earlier versions.
  late: z.boolean().default(false),
  run: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('pending') }),
    z.strictObject({
      kind: z.literal('committing'),
      startedAt: z.number(),
      endsAt: optional(z.number()),
    }),
    z.strictObject({
      kind: z.literal('retrying'),
      retryAt: z.number(),
      code: z.string(),
      detail: z.string(),
    }),
    z.strictObject({
      kind: z.literal('committed'),
      at: z.number(),
      id: z.string(),
      files: z.number(),
      bytes: z.number(),
      bytesSent: z.number(),
    }),
    z.strictObject({
      kind: z.literal('failed'),
      code: z.string(),
      detail: z.string(),
      retryable: z.boolean().default(false),
    }),
  ]),
});

const Phase = z.enum(DRAIN_PHASES);

const Drain = z.strictObject({
  id: z.string(),
  event: Event,
  startedAt: z.number(),
  startedWall: z.number(),
  deadlineAt: z.number(),
  phase: Phase,
  hooks: z.array(HookRun),
  sets: z.array(SetRun),
  report: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('pending') }),
    z.strictObject({ kind: z.literal('writing'), endsAt: z.number() }),
    z.strictObject({ kind: z.literal('done') }),
  ]),
  outcome: optional(z.enum(['success', 'failure', 'withdrawn', 'rebooted'])),
  timeline: z.array(z.strictObject({ phase: Phase, at: z.number() })),
});

/** What is kept of the state: a document that could not be decided on is asked for again, a stop is over. */
const KeptState = z.strictObject({
  vmName: optional(z.string()),
  watched: z.array(Watched),
  drain: optional(Drain),
  // Not in journals of earlier versions.
  peers: z.array(PeerNotice).default([]),
  mentioned: z.array(z.string()),
});

export const JOURNAL_VERSION = 1;

export const JournalFile = z.strictObject({
  version: z.literal(JOURNAL_VERSION),
  bootId: z.string(),
  state: KeptState,
});
export type JournalFile = z.output<typeof JournalFile>;

/** The state as it is written; members that are undefined are left out by JSON. */
export function toKept(state: State): JournalFile['state'] {
  const { vmName, watched, drain, peers, mentioned } = state;
  return {
    vmName,
    watched: [...watched],
    drain,
    peers: [...peers],
    mentioned: [...mentioned],
  } as JournalFile['state']; // readonly arrays only
}

export function fromKept(kept: JournalFile['state']): State {
  return { ...kept, undecided: undefined, stopping: false };
}

/** JSON leaves undefined members out; the state has them as undefined. */
function optional<T extends z.ZodType>(schema: T) {
  // `optional` lets the member be absent; after a transform its type is a member that is there, as in the state.
  return schema.optional().transform((value) => value);
}
