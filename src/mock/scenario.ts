/** Scenario files of the mock metadata service; manual.ts describes their keys. */
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
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const [syntax] = document.errors;
  if (syntax !== undefined) {
    const { line } = lines.linePos(syntax.pos[0]);
    throw new EvictdError('bad-scenario', `${file}:${line}: ${syntax.message.split('\n')[0]}`, {
      cause: syntax,
    });
  }
  const value = plain(document, file);
  const result = Scenario.safeParse(value ?? {});
  if (result.success) return result.data;
  const problems = describeIssues(result.error, value).map(({ path, text }) => {
    const { line } = lines.linePos(offsetOf(document, path));
    return `${file}:${line}: ${text}`;
  });
  throw new EvictdError('bad-scenario', problems.join('\n'), {
    remedy: 'correct the file; `evictd mock-imds --help` describes every key',
  });
}

function plain(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    // Of aliases only: one that names nothing, or far too many.
    throw new EvictdError('bad-scenario', `${file}: ${messageOf(error)}`, { cause: error });
  }
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
  const text = value === undefined ? '(nothing)' : (json(value) ?? 'a list or map with itself inside');
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/** Undefined where an alias stands inside of what it names. */
function json(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
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
