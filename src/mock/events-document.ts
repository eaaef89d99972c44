import type { WallMs } from '../base/clock.ts';
import type { MockEvent } from './event-board.ts';
import type { FaultSpec } from './schema.ts';

/** Versions of the Scheduled Events API, oldest first. */
export const EVENTS_API_VERSIONS: readonly string[] = [
  '2017-08-01',
  '2017-11-01',
  '2019-01-01',
  '2019-04-01',
  '2019-08-01',
  '2020-07-01',
  '2024-07-09',
];

/** Since when a type or a field exists; source: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events */
const TYPE_SINCE: Readonly<Record<string, string>> = {
  Preempt: '2017-11-01',
  Terminate: '2019-01-01',
  SpotRebalanceRecommendation: '2024-07-09',
};
const FIELD_SINCE: Readonly<Record<string, string>> = {
  Description: '2019-04-01',
  EventSource: '2019-08-01',
  DurationInSeconds: '2020-07-01',
};
const OPTIONAL_FIELDS = new Set([
  'ResourceType',
  'NotBefore',
  'Description',
  'EventSource',
  'DurationInSeconds',
]);
const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

export interface DocumentView {
  readonly events: readonly MockEvent[];
  readonly incarnation: number;
  readonly version: string;
  /** The server's clock minus this machine's. */
  readonly shiftMs: number;
  readonly kinds: ReadonlySet<FaultSpec['kind']>;
}

type WireEvent = Record<string, unknown>;

/** The events document as a version of the API writes it, bent by the faults among `kinds`. */
export function renderDocument(view: DocumentView): Record<string, unknown> {
  const { kinds, version } = view;
  const events = view.events
    .filter((event) => since(TYPE_SINCE, event.type) <= version)
    .map((event) => renderEvent(event, view));
  if (kinds.has('unknown-type')) {
    events.push({ ...sampleEvent(), EventId: '00000000-0000-4000-8000-00000000000a', EventType: 'Levitate' });
  }
  if (kinds.has('broken-event')) {
    events.unshift({ ...sampleEvent(), EventId: 17, EventStatus: 'Perhaps', Resources: 'fleet_0' });
  }
  return {
    DocumentIncarnation: view.incarnation,
    Events: events,
    ...(kinds.has('unknown-fields') ? { Hints: { next: [1, 2, 3] } } : {}),
  };
}

/** RFC 1123 in GMT, as the service writes NotBefore and every HTTP server its Date. */
export function rfc1123(at: WallMs): string {
  return new Date(at).toUTCString();
}

function renderEvent(event: MockEvent, view: DocumentView): WireEvent {
  const { kinds, version, shiftMs } = view;
  const fields: WireEvent = {
    EventId: event.id,
    EventStatus: event.status,
    EventType: event.type,
    ResourceType: 'VirtualMachine',
    Resources: event.resources,
    NotBefore: event.status === 'Started' ? '' : notBeforeText(event.notBefore + shiftMs, kinds),
    Description: event.description,
    EventSource: event.source,
    DurationInSeconds: event.durationSeconds,
    ...(kinds.has('unknown-fields') ? { Confidence: 0.7, Impact: { kind: 'total' } } : {}),
  };
  const left = Object.entries(fields).filter(
    ([name]) =>
      since(FIELD_SINCE, name) <= version && !(kinds.has('missing-fields') && OPTIONAL_FIELDS.has(name)),
  );
  const merged = { ...Object.fromEntries(left), ...event.override };
  return Object.fromEntries(Object.entries(merged).filter(([name]) => !event.omit.includes(name)));
}

function notBeforeText(at: WallMs, kinds: ReadonlySet<FaultSpec['kind']>): string {
  if (kinds.has('iso-dates')) return new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');
  const text = rfc1123(at);
  if (!kinds.has('wrong-weekday')) return text;
  const next = WEEKDAYS[(new Date(at).getUTCDay() + 1) % WEEKDAYS.length] ?? 'Sun';
  return `${next}${text.slice(3)}`;
}

function sampleEvent(): WireEvent {
  return {
    EventStatus: 'Scheduled',
    ResourceType: 'VirtualMachine',
    Resources: [],
    NotBefore: '',
    Description: '',
    EventSource: 'Platform',
    DurationInSeconds: -1,
  };
}

function since(table: Readonly<Record<string, string>>, name: string): string {
  return (Object.hasOwn(table, name) ? table[name] : undefined) ?? '';
}
