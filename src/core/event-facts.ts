import { type EventDocument, type ScheduledEvent, eventKey } from './event.ts';

/** Events disappear by absence only; one document may be a hiccup. */
export const ABSENCES_MEAN_GONE = 2;

/** Counts in how many good documents in a row, up to this one, something of an event was absent. */
export function absenceCounter(
  document: EventDocument,
): (one: { readonly event: ScheduledEvent; readonly absences: number }) => number {
  const present = new Set([...document.events.map(({ id }) => id), ...document.brokenIds].map(eventKey));
  return ({ event, absences }) => {
    if (present.has(eventKey(event.id))) return 0;
    // A document with broken entries may hold the event that seems absent.
    return document.complete ? absences + 1 : absences;
  };
}

/** The event as fields of a note. */
export function describe(event: ScheduledEvent): Record<string, unknown> {
  const { id, type, status, resources, source } = event;
  return {
    eventId: id,
    type,
    status,
    resources: resources.slice(0, 8),
    ...(source === undefined ? {} : { source }),
    ...(event.notBefore === undefined ? {} : { notBefore: new Date(event.notBefore).toISOString() }),
  };
}
