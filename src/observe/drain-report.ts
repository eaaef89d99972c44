import * as z from 'zod';

import { messageOf } from '../base/errors.ts';

const HookReport = z.looseObject({
  name: z.string(),
  stage: z.string(),
  required: z.boolean(),
  attempt: z.number(),
  /** `pending`, `running`, `succeeded`, `failed` or `skipped`. */
  state: z.string(),
  /** Since the notice. */
  startedMs: z.number().optional(),
  durationMs: z.number().optional(),
  /** Why it failed or was skipped: a word for programs, and the same for people. */
  reason: z.string().optional(),
  detail: z.string().optional(),
});

const SetReport = z.looseObject({
  name: z.string(),
  attempt: z.number(),
  /** `committed`, or how far it was. */
  state: z.string(),
  /** It was tried, and perhaps committed, only after the window. */
  late: z.boolean().optional(),
  startedMs: z.number().optional(),
  committedMs: z.number().optional(),
  /** Of the checkpoint that this drain made. */
  id: z.string().optional(),
  bytesSent: z.number().optional(),
  code: z.string().optional(),
  detail: z.string().optional(),
  files: z.number(),
  bytes: z.number(),
  /** What is only on the VM: it is lost with it. 0 when committed; undefined when it isn't known. */
  bytesNotStored: z.number().optional(),
  /** The newest checkpoint there is, this drain's or an earlier one; undefined when there is none. */
  lastCheckpoint: z.object({ id: z.string(), at: z.string() }).optional(),
});

/**
 * What happened in a drain, for the store: it outlives the VM. A stable contract; times are RFC 3339 by the guest's
 * clock, or ms since the notice.
 */
export const DrainReport = z.looseObject({
  version: z.literal(1),
  eventId: z.string(),
  eventType: z.string(),
  eventStatus: z.string(),
  resources: z.array(z.string()),
  vmName: z.string().optional(),
  evictdVersion: z.string(),
  noticedAt: z.string(),
  windowMs: z.number(),
  /** When the report was written. */
  writtenMs: z.number(),
  /** `success`, `failure`, `withdrawn`, `rebooted` or `unfinished`. */
  outcome: z.string(),
  timeline: z.array(z.object({ phase: z.string(), atMs: z.number() })),
  hooks: z.array(HookReport),
  sets: z.array(SetReport),
  /** As they stood when the report was written, which is before the acknowledgement. */
  acks: z.array(z.object({ eventId: z.string(), ack: z.string() })),
  /** The last lines of the daemon's own log, as logged. */
  log: z.array(z.string()),
});
export type DrainReport = z.output<typeof DrainReport>;
export type SetReport = DrainReport['sets'][number];

/** The report that a text holds, or why it holds none. */
export function parseReport(text: string): DrainReport | string {
  try {
    const parsed = DrainReport.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : z.prettifyError(parsed.error).replaceAll(/\s*\n\s*/g, ' ');
  } catch (error) {
    return messageOf(error);
  }
}
