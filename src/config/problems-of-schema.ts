import type * as z from 'zod';

import { choicesAt, type JsonSchema, keysOf, schemaAt, variants } from './json-schema.ts';
import { nearest } from './nearest.ts';
import { newcomer } from './newcomer.ts';
import { type Problem, showValue } from './problem.ts';
import { find, formatPath, locate, locateKey, type Path, toPlain, type Tree } from './tree.ts';

type Issue = z.core.$ZodIssue;

/** What zod found, in the order of the file and in the words of the configuration. */
export function problemsOfSchema(
  issues: readonly Issue[],
  tree: Tree,
  schema: JsonSchema,
): readonly Problem[] {
  return (
    issues
      .flatMap((issue) => problemsOfIssue(issue, [], { tree, schema }))
      // `FILE:9:1` before `FILE:10:1`.
      .toSorted((one, other) => one.origin.localeCompare(other.origin, 'en', { numeric: true }))
  );
}

interface Context {
  readonly tree: Tree;
  readonly schema: JsonSchema;
}

function problemsOfIssue(issue: Issue, base: Path, context: Context): readonly Problem[] {
  const path = [...base, ...issue.path];
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey([...path, key], context));
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    // The alternative that at least has the right shape is the one that was meant.
    const meant = issue.errors.find((branch) =>
      branch.some((inner) => inner.path.length > 0 || inner.code === 'unrecognized_keys'),
    );
    if (meant !== undefined) return meant.flatMap((inner) => problemsOfIssue(inner, path, context));
  }
  const { tree, schema } = context;
  const params = issue.code === 'custom' ? issue.params : undefined;
  const key = formatPath(path);
  if (params?.['isKey'] === true) {
    return [{ origin: locateKey(tree, path), key, message: issue.message, allowed: undefined }];
  }
  const words = typeof params?.['allowed'] === 'string' ? params['allowed'] : allowedAt(path, schema);
  const allowed = withShape(words, issue, path, schema);
  const value = find(tree, path);
  if (value === undefined) return [problemOfAbsent(issue, path, allowed, context)];
  const plain = toPlain(value);
  // Of a map or a list only what is wrong with it is said, since its value isn't shown.
  const message =
    issue.code === 'custom' && typeof plain === 'object'
      ? newcomer(tree, path) + issue.message
      : sentence(issue, plain, schemaAt(schema, path));
  return [{ origin: value.origin, key, message, allowed }];
}

/** Something is missing, or a default doesn't fit what stands beside it. */
function problemOfAbsent(
  issue: Issue,
  path: Path,
  allowed: string | undefined,
  { tree, schema }: Context,
): Problem {
  const key = formatPath(path);
  const against: unknown = issue.code === 'custom' ? issue.params?.['against'] : undefined;
  if (typeof against !== 'string') {
    const hint = newcomer(tree, path);
    const message = hint === '' ? 'is missing' : `${hint}has no ${String(path.at(-1))}`;
    return { origin: locate(tree, path), key, message, allowed, isMissing: true };
  }
  const origin = locate(tree, [...path.slice(0, -1), against]);
  const shown = String(schemaAt(schema, path)?.default);
  return { origin, key, message: `the default ${shown} is ${issue.message}; set ${key} too`, allowed };
}

function unknownKey(path: Path, { tree, schema }: Context): Problem {
  const around = schemaAt(schema, path.slice(0, -1)) ?? {};
  const origin = locateKey(tree, path);
  const key = formatPath(path);
  const known = keysOf(around);
  if (known.includes(String(path.at(-1)))) {
    // It belongs to another alternative than the one that is chosen, perhaps elsewhere.
    const chosen = chosenVariant(path.slice(0, -1), around, tree);
    const fitting = Object.keys(chosen?.variant.properties ?? {}).join(', ');
    return { origin, key, message: `does not go with ${chosen?.by ?? 'the rest'}`, allowed: fitting };
  }
  const near = nearest(String(path.at(-1)), known);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  return { origin, key, message: `is not a known key${hint}`, allowed: known.join(', ') };
}

/** The alternative that one of the keys at `path` chooses, and `KEY VALUE (ORIGIN)`. */
function chosenVariant(path: Path, node: JsonSchema, tree: Tree) {
  for (const variant of variants(node)) {
    for (const [key, { const: value }] of Object.entries(variant.properties ?? {})) {
      const found = find(tree, [...path, key]);
      if (typeof value !== 'string' || found?.kind !== 'leaf' || found.value !== value) continue;
      return { variant, by: `${key} ${value} (set by ${found.origin})` };
    }
  }
  return undefined;
}

/** `"5 parsecs" is not a duration`. */
function sentence(issue: Issue, value: unknown, node: JsonSchema | undefined): string {
  const unit = node?.['x-unit'];
  if (unit !== undefined && /^\d+(?:\.\d+)?$/.test(String(value))) {
    return `${String(value)} has no unit; did you mean ${String(value)}${unit}?`;
  }
  const shown = node?.['x-sensitive'] === true ? 'the value (not shown)' : showValue(value);
  return `${shown} is ${describe(issue, value)}`;
}

function describe(issue: Issue, value: unknown): string {
  switch (issue.code) {
    case 'invalid_type':
      return `not ${articled(issue.expected)}`;
    case 'too_small':
      return issue.origin === 'array' ? 'empty' : `less than ${issue.minimum}`;
    case 'too_big':
      return issue.origin === 'array' ? 'too long' : `more than ${issue.maximum}`;
    case 'custom':
      return issue.message;
    default:
      return typeof value === 'object' ? 'not allowed here' : 'not one of the values';
  }
}

function allowedAt(path: Path, schema: JsonSchema): string | undefined {
  const node = schemaAt(schema, path);
  if (node === undefined) return undefined;
  if (node['x-allowed'] !== undefined) return node['x-allowed'];
  if (node.enum !== undefined) return node.enum.join(' | ');
  const choices = choicesAt(schema, path);
  if (choices.length > 0) return choices.join(' | ');
  const keys = keysOf(node);
  return keys.length > 0 ? `a map with ${keys.join(', ')}` : undefined;
}

/** A value of the wrong shape is best corrected by one of the right shape. */
function withShape(
  words: string | undefined,
  issue: Issue,
  path: Path,
  schema: JsonSchema,
): string | undefined {
  const isShape = issue.code === 'invalid_type' && ['array', 'object'].includes(issue.expected);
  const node = isShape || issue.code === 'invalid_union' ? schemaAt(schema, path) : undefined;
  const shape = node === undefined ? undefined : shapeOf(node);
  if (shape === undefined || words === undefined) return words;
  return `${words}, such as ${String(path.at(-1))}: ${shape}`;
}

/** `[/bin/true]` or `{ kind: azurite }`, as a config file has it. */
function shapeOf(node: JsonSchema): string | undefined {
  const example = node['x-example'];
  if (Array.isArray(example)) return `[${example.join(', ')}]`;
  const [key, value] =
    variants(node)
      .flatMap(({ properties = {} }) => Object.entries(properties))
      .find(([, { const: chosen }]) => chosen !== undefined) ?? [];
  return key === undefined ? undefined : `{ ${key}: ${String(value?.const)} }`;
}

function articled(type: string): string {
  const words: Readonly<Record<string, string>> = {
    string: 'text',
    int: 'a whole number',
    number: 'a number',
    boolean: 'true or false',
    array: 'a list',
    object: 'a map',
  };
  return words[type] ?? `a ${type}`;
}
