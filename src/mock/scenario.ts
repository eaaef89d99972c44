/**
 * Scenario files of the mock metadata service (YAML; every key is optional, unknown keys are errors).
 *
 *     vm:                      # what the instance document says
 *       name: fleet_0          # the name that `self` stands for in events
 *       vmId, scaleSet, location, zone, priority, evictionPolicy: text
 *       tags: { key: value }
 *     service:
 *       apiVersions: [2020-07-01]   # of Scheduled Events; default: every documented one and 2024-07-09
 *       firstAnswerDelay: 2m   # events answers wait until this long after the first question
 *       rateLimit: 5           # requests in a sliding second, more get a 429; 0: no limit
 *       startAfterAck: 1s      # from the acknowledgement to Started
 *       startedFor: 10s        # from Started until the event is gone
 *     token:
 *       ttl: 24h               # life of a token
 *       tenantId: GUID         # the issuer is https://sts.windows.net/GUID/
 *       clientIds: [GUID]      # identities that exist; with two or more client_id must name one of them
 *     timeline:                # `at` counts from the start of the mock
 *       - at: 2s
 *         event:
 *           id: any text       # default: a new GUID
 *           type: Preempt      # any text
 *           status: Scheduled  # or Started, without having been Scheduled
 *           notBefore: 30s     # from now, may be negative; default: the documented notice of the type
 *           resources: [self, fleet_1]
 *           source: Platform   # or User
 *           description: text
 *           durationSeconds: -1
 *           autoStart: true    # false: stays Scheduled after NotBefore and after an acknowledgement
 *           startedFor: 10s
 *           override: { NotBefore: "soon" }   # fields put on the wire as they stand here
 *           omit: [EventSource]               # fields left out
 *       - { at: 5s, withdraw: ID }            # vanishes without having Started
 *       - { at: 6s, clock: -1h }              # the server's clock, against this machine's
 *       - { at: 7s, incarnation: 1 }          # DocumentIncarnation goes on from here
 *       - { at: 8s, fault: { kind: status, status: 500, for: 10s } }
 *
 * A fault hits `on: events | ack | instance | token | all` (default events) for `count` requests or `for` a
 * duration, else until it is cleared. Several can be active. Kinds:
 *   hang; slow (delay: 5s); status (status: 404); redirect (to: URL); empty; html; huge (size: 2MiB);
 *   truncated; reset (after: request | body); and, in the events document: broken-event,
 *   unknown-fields, unknown-type, missing-fields, iso-dates, wrong-weekday; skewed-date (by: 1h) in the Date header.
 */
import { readFile } from 'node:fs/promises';

import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';

import { EvictdError, messageOf } from '../base/errors.ts';
import { Scenario, type ScenarioInput } from './schema.ts';

const FILE_BYTES_MAX = 1024 ** 2;
const PROBLEMS_MAX = 10;

/** Reads a scenario file. Throws `bad-scenario`, naming file, line, key, value and what is allowed. */
export async function loadScenario(file: string): Promise<Scenario> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new EvictdError('bad-scenario', `${file}: ${messageOf(cause)}`, { cause });
  }
  return parseScenario(text, file);
}

/** The same from text; `file` is only named in errors. */
export function parseScenario(text: string, file: string): Scenario {
  if (text.length > FILE_BYTES_MAX) {
    throw new EvictdError('bad-scenario', `${file}: larger than ${FILE_BYTES_MAX} bytes`);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const [syntax] = document.errors;
  if (syntax !== undefined) {
    const { line } = lines.linePos(syntax.pos[0]);
    throw new EvictdError('bad-scenario', `${file}:${line}: ${syntax.message.split('\n')[0]}`, {
      cause: syntax,
    });
  }
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  const result = Scenario.safeParse(value ?? {});
  if (result.success) return result.data;
  const problems = describeIssues(result.error, value).map(({ path, text }) => {
    const { line } = lines.linePos(offsetOf(document, path));
    return `${file}:${line}: ${text}`;
  });
  throw new EvictdError('bad-scenario', problems.join('\n'), {
    remedy: 'correct the file; `evictd mock-imds --help` shows an example',
  });
}

/** A scenario from a plain object, with the same defaults. Throws `bad-scenario`. */
export function scenarioOf(input: ScenarioInput): Scenario {
  return validate(Scenario, input, 'scenario', 'bad-scenario');
}

/** The value as the schema reads it. Throws an EvictdError of `code` that says what is wrong and what is allowed. */
export function validate<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  what: string,
  code: string,
): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = describeIssues(result.error, value).map(({ text }) => text);
  throw new EvictdError(code, `${what}: ${problems.join('; ')}`);
}

interface Problem {
  readonly path: readonly PropertyKey[];
  readonly text: string;
}

function describeIssues(error: z.ZodError, root: unknown): Problem[] {
  return error.issues.slice(0, PROBLEMS_MAX).map((issue) => {
    const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path;
    const key = path.length === 0 ? 'document' : path.map(String).join('.');
    return { path, text: `${key} = ${show(valueAt(root, path))}: ${issue.message}` };
  });
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let current = root;
  for (const key of path) {
    if (typeof current !== 'object' || current === null) return undefined;
    current = Reflect.get(current, key);
  }
  return current;
}

function show(value: unknown): string {
  const text = value === undefined ? '(nothing)' : JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/** Where the innermost node on the path stands; for a key of a map, where the key stands. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  let offset = 0;
  for (let length = 0; length <= path.length; length++) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node)) offset = node.range?.[0] ?? offset;
    const key = path[length];
    if (!isMap(node)) continue;
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key));
    if (pair !== undefined && isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
  }
  return offset;
}
