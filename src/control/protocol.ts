import * as z from 'zod';

import { EvictdError } from '../base/errors.ts';
import { formatDuration, parseDuration } from '../base/units.ts';
import { type HookPolicy, STAGES } from '../core/policy.ts';

/** Part of a registered hook's name everywhere, so that it is never taken for one of the config. */
export const REGISTERED = 'registered/';

const TIMEOUT_MS = { min: 100, max: 3_600_000 };

const Timeout = z.string().transform((text, context) => {
  try {
    const ms = parseDuration(text);
    if (ms >= TIMEOUT_MS.min && ms <= TIMEOUT_MS.max) return ms;
    context.addIssue(`has to be from ${formatDuration(TIMEOUT_MS.min)} to ${formatDuration(TIMEOUT_MS.max)}`);
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    context.addIssue(`${error.message}: ${error.remedy ?? ''}`);
  }
  return z.NEVER;
});

/** The owner's own way in beside `socket`: only root (or the user of the daemon) may connect, so nobody can crowd it. */
export function ownersSocket(socket: string): string {
  return `${socket}.owner`;
}

/** Longer ones the kernel can't bind (unix(7)). */
export const SOCKET_PATH_BYTES_MAX = 107;

/** Body of `POST /v1/hooks`; what a hook of the config has, with the same defaults. */
export const Registration = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'has 1 to 64 letters, digits, ".", "_" and "-"'),
  stage: z.enum(STAGES).default('before-checkpoint'),
  order: z.int().min(0).max(10_000).default(50),
  timeout: Timeout.prefault('10s'),
  required: z.boolean().default(true),
  on: z
    .array(z.string().regex(/^[A-Za-z]{1,64}$/, 'is not an event type such as Preempt'))
    .min(1)
    .max(16)
    .optional(),
});
export type Registration = z.output<typeof Registration>;

/** Body of `POST /v1/hooks/ID/done`. */
export const Done = z.strictObject({
  ok: z.boolean(),
  detail: z.string().max(4096).optional(),
});
export type Done = z.output<typeof Done>;

/** Body of `POST /v1/checkpoint`. */
export const CheckpointRequest = z.strictObject({
  /** Only this one. */
  set: z.string().optional(),
  /** Also after a conflict with another writer of the same key: goes on from what that one left. */
  takeOver: z.boolean().default(false),
});
export type CheckpointRequest = z.output<typeof CheckpointRequest>;

/** Throws `bad-request` naming each member that is wrong. */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${path.length === 0 ? 'the body' : path.join('.')}: ${message}`,
  );
  throw new EvictdError('bad-request', problems.join('; ').slice(0, 1000));
}

export function policyOfRegistration(
  registration: Registration,
  { isGuest }: { readonly isGuest: boolean },
): HookPolicy {
  const { name, timeout, ...rest } = registration;
  const guest = isGuest ? { isGuest } : {};
  return { ...rest, ...guest, on: rest.on, name: `${REGISTERED}${name}`, timeoutMs: timeout };
}

/** Events on the streams; each has an `id`, and `data` in JSON. What a client doesn't know it leaves alone. */
export const Notice = z.object({
  /** As Azure writes it. */
  event: z.looseObject({ EventId: z.string(), EventType: z.string() }),
  /** RFC 3339, on this VM's clock. */
  deadline: z.string(),
  secondsLeft: z.number(),
});
export type Notice = z.output<typeof Notice>;

/** The first event of every stream: what is so now. */
export const Hello = z.object({
  version: z.literal(1),
  evictdVersion: z.string(),
  vmName: z.string().optional(),
  /** As in the status. */
  phase: z.string(),
  /** While this VM is to be evicted. */
  notice: Notice.optional(),
});
export type Hello = z.output<typeof Hello>;

/** To the client of a hook: run it now, then answer `POST /v1/hooks/ID/done` with this id. */
export const Run = z.object({
  id: z.string(),
  attempt: z.number(),
  timeoutSeconds: z.number(),
  /** What a hook of the config finds in its environment: `EVICTD_EVENT_ID` and the others. */
  environment: z.record(z.string(), z.string()),
  event: z.looseObject({ EventId: z.string() }),
});
export type Run = z.output<typeof Run>;

/** The second event of a hook's stream. */
export const Registered = z.object({
  /** `registered/NAME`. */
  name: z.string(),
  /** Does it take part in the drain that is under way? Undefined without one. */
  joinsDrain: z.boolean().optional(),
});
export type Registered = z.output<typeof Registered>;

/** To the client of a hook: its time is over, or it isn't wanted any more; an answer counts for nothing now. */
export const Cancel = z.object({ id: z.string(), reason: z.string() });
