import fc from 'fast-check';

import { EvictdError } from '../../src/base/errors.ts';

/** How many cases each target gets; more by EVICTD_FUZZ_RUNS. */
export const RUNS = Number(process.env['EVICTD_FUZZ_RUNS'] ?? 150);
/** A fresh one each time; a failure prints it, and EVICTD_FUZZ_SEED replays it. */
export const SEED = Number(process.env['EVICTD_FUZZ_SEED'] ?? Date.now() % 1_000_000_000);
/** No case may take longer, on however busy a machine. */
const CASE_MS = 10_000;
const INPUT_CHARACTERS_MAX = 500;
/** Of an error's message, which goes to a terminal or a log. */
const MESSAGE_CHARACTERS_MAX = 100_000;

/** Documents and names that broke others' parsers. */
const HOSTILE = [
  '{"__proto__":{"polluted":true}}',
  '"__proto__":{"polluted":true},',
  '{"constructor":{"prototype":{"polluted":true}}}',
  '[['.repeat(20_000),
  '{"a":'.repeat(20_000),
  'A'.repeat(200_000),
  '1e999',
  '-0',
  '9007199254740993',
  'NaN',
  'null',
  'true',
  '\u0000',
  '\u001B[2J\u001B]0;owned\u0007',
  '\uFEFF',
  '\uD800',
  '../../../../etc/shadow',
  '/etc/shadow',
  '%2e%2e%2f',
  '2026-13-45T99:99:99Z',
  '{{{{}}}}',
  '*a',
  '&a [*a,*a,*a,*a,*a,*a,*a,*a]',
  '!!js/function "function(){}"',
  '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
  '\n',
  '\r\n\r\n',
  ',',
  ']',
  '}',
];
const HOSTILE_VALUES: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  1e308,
  0.5,
  '',
  'x'.repeat(100_000),
  '../../etc/shadow',
  '\u0000',
  [],
  {},
  [[[[]]]],
  JSON.parse('{"__proto__":{"polluted":true}}'),
  { constructor: { prototype: { polluted: true } } },
];

/** A real document with some of its bytes changed, or as JSON some of its values. */
export function mutated(...documents: readonly string[]): fc.Arbitrary<Buffer> {
  const document = fc.constantFrom(...documents);
  const bytes = fc.tuple(document, fc.array(edit, { minLength: 1, maxLength: 6 }));
  const values = fc.tuple(
    document.filter((text) => isJson(text)),
    fc.array(fc.tuple(fc.nat(), fc.constantFrom(...HOSTILE_VALUES)), { minLength: 1, maxLength: 4 }),
  );
  const byValue = values.map(([text, changes]) => {
    const changed = changes.reduce(
      (json: unknown, [at, value]) => replaced(json, at, value),
      JSON.parse(text),
    );
    return Buffer.from(JSON.stringify(changed) ?? 'null');
  });
  const byByte = bytes.map(([text, edits]) =>
    edits.reduce<Buffer>((body, change) => change(body), Buffer.from(text)),
  );
  return documents.some(isJson) ? fc.oneof(byByte, byValue) : byByte;
}

type Edit = (body: Buffer) => Buffer;

const place = fc.double({ min: 0, max: 1, noNaN: true });
const at = (body: Buffer, where: number) => Math.floor(where * body.length);
const joined = (...parts: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => Buffer.from(part)));

const edit = fc.oneof(
  fc.tuple(place, fc.constantFrom(...HOSTILE)).map(
    ([where, text]): Edit =>
      (body) =>
        joined(body.subarray(0, at(body, where)), text, body.subarray(at(body, where))),
  ),
  fc.tuple(place, fc.nat(255)).map(
    ([where, byte]): Edit =>
      (body) =>
        joined(body.subarray(0, at(body, where)), Buffer.of(byte), body.subarray(at(body, where) + 1)),
  ),
  fc.tuple(place, place).map(
    ([from, to]): Edit =>
      (body) =>
        joined(body.subarray(0, at(body, from)), body.subarray(at(body, to))),
  ),
  place.map(
    (end): Edit =>
      (body) =>
        body.subarray(0, at(body, end)),
  ),
);

/** `json` with the value number `at` (counted depth first) replaced. */
function replaced(json: unknown, at: number, value: unknown): unknown {
  const total = count(json);
  let left = at % total;
  const walk = (node: unknown): unknown => {
    if (left-- === 0) return value;
    if (Array.isArray(node)) return node.map(walk);
    if (typeof node !== 'object' || node === null) return node;
    return Object.fromEntries(Object.entries(node).map(([key, inner]) => [key, walk(inner)]));
  };
  return walk(json);
}

function count(json: unknown): number {
  if (typeof json !== 'object' || json === null) return 1;
  return Object.values(json).reduce((sum: number, inner) => sum + count(inner), 1);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Gives each case to `take`, which may return or throw an EvictdError and nothing else; `check` looks at what it
 * returned. Whatever came, it took a bounded time and no object has got a property by it. Answers how many there were.
 */
export async function fuzz<T, R>(
  cases: fc.Arbitrary<T>,
  take: (value: T) => Promise<R> | R,
  check: (result: R) => void = () => undefined,
  runs = RUNS,
): Promise<number> {
  let played = 0;
  const property = fc.asyncProperty(cases, async (value) => {
    played++;
    const startedAt = performance.now();
    try {
      check(await take(value));
    } catch (error) {
      if (!(error instanceof EvictdError)) throw error;
      if (error.message.length > MESSAGE_CHARACTERS_MAX)
        throw new Error('a message that nobody can read', { cause: error });
    }
    const tookMs = performance.now() - startedAt;
    if (tookMs > CASE_MS) throw new Error(`it took ${tookMs} ms`);
    if ('polluted' in {}) throw new Error('the prototype of all objects was changed');
  });
  const { failed, seed, counterexample, errorInstance } = await fc.check(property, {
    seed: SEED,
    numRuns: runs,
    endOnFailure: true,
  });
  if (!failed) return played;
  // The whole input can have megabytes.
  const input = String(counterexample).slice(0, INPUT_CHARACTERS_MAX);
  throw new Error(`case ${played}; EVICTD_FUZZ_SEED=${seed} plays it again: ${input}`, {
    cause: errorInstance,
  });
}
