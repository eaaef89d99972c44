import { expect, test } from 'vitest';

import { createDocumentReader, parseDocument } from '../../src/imds/parse.ts';

const DATE = 'Tue, 09 Aug 2022 17:07:02 GMT';
const PREEMPT = {
  EventId: 'C1BF8322-4CBF-4FC4-9C45-B40CF3106D0E',
  EventStatus: 'Scheduled',
  EventType: 'Preempt',
  ResourceType: 'VirtualMachine',
  Resources: ['vm-spot'],
  NotBefore: 'Tue, 09 Aug 2022 17:07:32 GMT',
  Description: '',
  EventSource: 'Platform',
  DurationInSeconds: -1,
};

function parse(value: unknown, date: string | undefined = DATE) {
  return parseDocument(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), date);
}

test('reads the documented Preempt, with the server time of the Date header', () => {
  const { document, dropped } = parse({ DocumentIncarnation: 1, Events: [PREEMPT] });
  expect(dropped).toEqual([]);
  expect(document).toEqual({
    incarnation: 1,
    serverNow: Date.UTC(2022, 7, 9, 17, 7, 2),
    brokenIds: [],
    complete: true,
    events: [
      {
        id: 'C1BF8322-4CBF-4FC4-9C45-B40CF3106D0E',
        type: 'Preempt',
        status: 'Scheduled',
        resources: ['vm-spot'],
        notBefore: Date.UTC(2022, 7, 9, 17, 7, 32),
        source: 'Platform',
        description: '',
        durationSeconds: -1,
      },
    ],
  });
});

test('needs only id, type, status and resources', () => {
  const { document } = parse({
    Events: [{ EventId: 'a', EventStatus: 'Started', EventType: 'Freeze', Resources: [] }],
  });
  expect(document.events).toEqual([
    {
      id: 'a',
      type: 'Freeze',
      status: 'Started',
      resources: [],
      notBefore: undefined,
      source: undefined,
      description: '',
      durationSeconds: undefined,
    },
  ]);
  expect(document.incarnation).toBeUndefined();
  expect(document.complete).toBe(true);
});

test('survives unknown fields, an unknown type and odd values of optional fields', () => {
  const odd = {
    ...PREEMPT,
    EventType: 'Levitate',
    EventSource: 'Moon',
    DurationInSeconds: 'long',
    Description: 7,
    New: {},
  };
  const { document } = parse({ DocumentIncarnation: 'x', Events: [odd], Hints: [] });
  expect(document.complete).toBe(true);
  expect(document.events).toMatchObject([
    { type: 'Levitate', source: undefined, durationSeconds: undefined, description: '' },
  ]);
});

test.each([
  ['a status of its own', { ...PREEMPT, EventStatus: 'Completed' }, /EventStatus/],
  ['no resources', { ...PREEMPT, Resources: undefined }, /Resources/],
  ['resources that are a text', { ...PREEMPT, Resources: 'vm-spot' }, /Resources/],
  ['a resource that is a number', { ...PREEMPT, Resources: [7] }, /Resources/],
  ['a numeric id', { ...PREEMPT, EventId: 7 }, /EventId/],
  ['no type', { ...PREEMPT, EventType: undefined }, /EventType/],
  ['null', null, /entry/],
])('an entry with %s is left out and reported, the others are delivered', (_name, broken, reason) => {
  const { document, dropped } = parse({ DocumentIncarnation: 3, Events: [broken, PREEMPT] });
  const { EventId } = Object(broken) as { EventId?: unknown }; // a test's own literal
  const tellsId = typeof EventId === 'string' && EventId !== '';
  expect(document.complete).toBe(tellsId);
  expect(document.brokenIds).toEqual(tellsId ? [EventId] : []);
  expect(document.events.map((event) => event.id)).toEqual([PREEMPT.EventId]);
  expect(dropped).toEqual([{ index: 0, reason: expect.stringMatching(reason) as unknown }]);
});

test('reports a bounded number of broken entries, however many there are', () => {
  const { document, dropped } = parse({ Events: Array.from({ length: 1000 }, () => 1) });
  expect(document.complete).toBe(false);
  expect(dropped).toHaveLength(20);
});

test('a document of a hundred thousand entries is read up to a bound, and known to be incomplete', () => {
  const { document, dropped } = parse({ Events: Array.from({ length: 100_000 }, () => PREEMPT) });
  expect(document.events).toHaveLength(2000);
  expect(document.complete).toBe(false);
  expect(dropped).toEqual([{ index: 2000, reason: 'more than 2000 entries' }]);
});

test.each([
  ['an empty body', '', 'imds-empty'],
  ['blanks', ' \r\n', 'imds-empty'],
  ['HTML', '<!DOCTYPE html><html></html>', 'imds-not-json'],
  ['half a document', JSON.stringify({ Events: [PREEMPT] }).slice(0, 60), 'imds-not-json'],
  ['a document without events', { DocumentIncarnation: 1 }, 'imds-bad-document'],
  ['events that are no list', { DocumentIncarnation: 1, Events: {} }, 'imds-bad-document'],
  ['a list', [], 'imds-bad-document'],
  ['null', null, 'imds-bad-document'],
])('%s is no document', (_name, body, code) => {
  expect(() => parse(body)).toThrow(expect.objectContaining({ code }));
});

test('a missing or odd Date header only means that the server time is unknown', () => {
  expect(parseDocument(Buffer.from('{"Events":[]}'), undefined).document.serverNow).toBeUndefined();
  expect(parse({ Events: [] }, 'yesterday').document.serverNow).toBeUndefined();
});

test('one answer after the other reads as each by itself, the time included', () => {
  const read = createDocumentReader();
  const quiet = JSON.stringify({ DocumentIncarnation: 1, Events: [] });
  const notice = JSON.stringify({ DocumentIncarnation: 2, Events: [PREEMPT, { EventId: 'broken' }] });
  const later = 'Tue, 09 Aug 2022 17:07:03 GMT';
  const body = Buffer.alloc(quiet.length);
  for (const [text, date] of [
    [quiet, DATE],
    [quiet, later],
    [notice, later],
    [notice, undefined],
    ['{"Events":', DATE],
    [notice, DATE],
    [quiet, DATE],
    ['', DATE],
  ] as const) {
    // The transport may use its memory again.
    const bytes = text.length === body.length ? body.fill(text) : Buffer.from(text);
    expect(outcomeOf(() => read(bytes, date))).toEqual(
      outcomeOf(() => parseDocument(Buffer.from(text), date)),
    );
  }
});

function outcomeOf(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}
