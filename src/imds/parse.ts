import type { z } from 'zod';

import type { EventDocument, ScheduledEvent } from '../core/event.ts';
import { imdsError } from './error.ts';
import { EntryId, EventEntry, EventsAnswer } from './schema.ts';
import { parseServerTime } from './server-time.ts';

/** An entry of the document that could not be used. */
export interface DroppedEntry {
  readonly index: number;
  /** Names the field and what was wrong with it. */
  readonly reason: string;
}

export interface ParsedDocument {
  readonly document: EventDocument;
  /** The first of them. */
  readonly dropped: readonly DroppedEntry[];
}

/** Far more than a placement group can have; a document of a million broken entries would block for seconds. */
const ENTRIES_MAX = 2000;
const DROPPED_MAX = 20;
const REASON_CHARACTERS_MAX = 200;

/**
 * Reads the body of a 200 answer. Throws `imds-empty`, `imds-not-json` or `imds-bad-document` when there is no
 * document in it; a document with broken entries is delivered without them.
 */
export function parseDocument(body: Uint8Array, dateHeader: string | undefined): ParsedDocument {
  const answer = EventsAnswer.safeParse(parseJson(body));
  if (!answer.success) {
    throw imdsError('imds-bad-document', `the events document can't be used: ${reasonOf(answer.error)}`);
  }
  const events: ScheduledEvent[] = [];
  const dropped: DroppedEntry[] = [];
  const brokenIds: string[] = [];
  let complete = true;
  for (const [index, raw] of answer.data.Events.entries()) {
    if (index === ENTRIES_MAX) {
      complete = false;
      dropped.push({ index, reason: `more than ${ENTRIES_MAX} entries` });
      break;
    }
    const entry = EventEntry.safeParse(raw);
    if (entry.success) {
      events.push(toEvent(entry.data));
      continue;
    }
    const id = EntryId.safeParse(raw);
    if (id.success) brokenIds.push(id.data.EventId);
    else complete = false;
    if (dropped.length < DROPPED_MAX) dropped.push({ index, reason: reasonOf(entry.error) });
  }
  return {
    document: {
      incarnation: answer.data.DocumentIncarnation,
      serverNow: parseServerTime(dateHeader),
      events,
      brokenIds,
      complete,
    },
    dropped,
  };
}

/** Longer ones aren't kept. */
const KEPT_BYTES_MAX = 64 * 1024;

/**
 * As parseDocument, for one answer after the other: one that is byte for byte the last one, as nearly all are, needs only
 * its time to be read.
 */
export function createDocumentReader(): typeof parseDocument {
  let last: { readonly body: Uint8Array; readonly parsed: ParsedDocument } | undefined;
  return (body, dateHeader) => {
    if (last !== undefined && Buffer.compare(last.body, body) === 0) {
      const { document, dropped } = last.parsed;
      return { document: { ...document, serverNow: parseServerTime(dateHeader) }, dropped };
    }
    const parsed = parseDocument(body, dateHeader);
    last = body.length <= KEPT_BYTES_MAX ? { body: Uint8Array.from(body), parsed } : undefined;
    return parsed;
  };
}

/** JSON from an answer's bytes. Throws `imds-empty` or `imds-not-json` (HTML, or cut off in the middle). */
export function parseJson(body: Uint8Array): unknown {
  const text = new TextDecoder().decode(body);
  if (text.trim() === '') throw imdsError('imds-empty', 'the answer has an empty body');
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw imdsError('imds-not-json', `the answer (${body.length} bytes) isn't JSON, or not all of it`, cause);
  }
}

/** The first thing that a schema found wrong, on one bounded line. */
export function reasonOf(error: z.ZodError): string {
  const [issue] = error.issues;
  if (issue === undefined) return 'unknown';
  return `${issue.path.length === 0 ? 'entry' : issue.path.join('.')}: ${issue.message}`.slice(
    0,
    REASON_CHARACTERS_MAX,
  );
}

function toEvent(entry: EventEntry): ScheduledEvent {
  return {
    id: entry.EventId,
    type: entry.EventType,
    status: entry.EventStatus,
    resources: entry.Resources,
    notBefore: parseServerTime(entry.NotBefore),
    source: entry.EventSource,
    description: entry.Description,
    durationSeconds: entry.DurationInSeconds,
  };
}
