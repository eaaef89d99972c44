/** A scenario that shows each kind of step; part of the manual, and valid as it stands. */
export const SCENARIO_EXAMPLE = `\
vm: { name: fleet_2 }
service: { firstAnswerDelay: 2s }
timeline:
  - { at: 5s, fault: { kind: status, status: 500, for: 3s } }
  - { at: 10s, event: { id: E1, notBefore: 30s } }
  - { at: 12s, event: { id: E2, type: Freeze, resources: [self, fleet_1] } }
  - { at: 14s, withdraw: E2 }
  - { at: 15s, clock: -1h }
`;

/** Bodies of requests that change the mock while it runs; part of the manual, and valid as they stand. */
export const CONTROL_EXAMPLES: readonly (readonly [method: string, path: string, body: string])[] = [
  ['POST', '/mock/events', '{"notBefore":"30s"}'],
  ['POST', '/mock/events', '{"id":"E1","type":"Reboot","source":"User","resources":["self","fleet_1"]}'],
  ['DELETE', '/mock/events/E1', ''],
  ['POST', '/mock/faults', '{"kind":"status","status":429,"count":3}'],
  ['POST', '/mock/faults', '{"kind":"hang","on":"all","for":"10s"}'],
  ['DELETE', '/mock/faults', ''],
];

/** Everything that the mock can be told, by file and while it runs: the one description of it, also in the help. */
export function mockManual(url: string): string {
  return `\
Control while it runs (JSON bodies; the content type does not matter; a bad one gets a 400 that says why):
  POST   /mock/events        an event, as below; {} is a Preempt of this VM    201
  DELETE /mock/events/ID     withdraws it: it vanishes without having started  200, 404
  POST   /mock/faults        a fault, as below                                 201
  DELETE /mock/faults        clears all faults                                 200
  POST   /mock/clock         {"shift": "-1h"}: the server's clock, against this machine's
  POST   /mock/incarnation   {"value": 1}: DocumentIncarnation goes on from here
  GET    /mock/log           every metadata request and acknowledgement, the newest 5000
  GET    /mock/state         VM, events, incarnation, faults, clock shift

${CONTROL_EXAMPLES.map((example) => `  ${curl(url, ...example)}`).join('\n')}

${KEYS}
A scenario:
${SCENARIO_EXAMPLE.replaceAll(/^(?=.)/gm, '  ')}`;
}

const KEYS = `\
Scenario file (YAML; every key is optional, unknown keys are errors; durations 500ms, 8s, 5m):
  vm:                          # what the instance document says
    name: fleet_0              # the name that self stands for in events
    vmId, scaleSet, location, zone, priority, evictionPolicy: text
    tags: { KEY: VALUE }
  service:
    apiVersions: [2020-07-01]  # of Scheduled Events; default: all documented ones and 2024-07-09
    firstAnswerDelay: 0s       # events answers wait until this long after the first question
    rateLimit: 5               # requests in a sliding second, more get a 429 (of tokens: 20); 0: no limit
    startAfterAck: 1s          # from the acknowledgement to Started
    startedFor: 10s            # from Started until the event is gone
  token:
    ttl: 24h                   # life of a token
    tenantId: GUID             # the issuer is https://sts.windows.net/GUID/
    clientIds: [GUID]          # identities that exist; with two or more, client_id must name one
  timeline:                    # steps: at, counted from the start, and one of
    - { at: 2s, event: EVENT }
    - { at: 5s, withdraw: ID }
    - { at: 6s, fault: FAULT }
    - { at: 7s, clock: -1h }
    - { at: 8s, incarnation: 1 }

Event:
  id: TEXT                     # default: a new GUID
  type: Preempt                # any text
  status: Scheduled            # or Started, without having been Scheduled
  notBefore: 30s               # from now, may be negative; default: the documented notice of the type
  resources: [self]            # names of VMs
  source: Platform             # or User
  description: TEXT
  durationSeconds: -1
  autoStart: true              # false: stays Scheduled after NotBefore and after an acknowledgement
  startedFor: 10s
  override: { NotBefore: "soon" }   # fields put on the wire as they stand here
  omit: [EventSource]               # fields left out

Fault (several may be active):
  kind: KIND                   # as below
  on: events                   # events, ack, instance, token or all
  count: 3                     # ends after so many requests
  for: 10s                     # ends after so long; without both it lasts until it is cleared
  Of the answer:    hang, slow (delay: 5s), status (status: 404), redirect (to: URL), empty, html,
                    huge (size: 2MiB), truncated, reset (after: request or body)
  Of the document:  broken-event, unknown-fields, unknown-type, missing-fields, iso-dates, wrong-weekday
  Of its header:    skewed-date (by: 1h)
`;

function curl(url: string, method: string, path: string, body: string): string {
  return body === '' ? `curl -X ${method} ${url}${path}` : `curl -d '${body}' ${url}${path}`;
}
