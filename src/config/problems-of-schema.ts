import type * as z from 'zod';

import { type JsonSchema, keysOf, schemaAt } from './json-schema.ts';
import { nearest } from './nearest.ts';
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
  const value = find(context.tree, path);
  const node = schemaAt(context.schema, path);
  const params = issue.code === 'custom' ? issue.params : undefined;
  const key = formatPath(path);
  const allowed = typeof params?.['allowed'] === 'string' ? params['allowed'] : allowedBy(node);
  if (params?.['isKey'] === true) {
    return [{ origin: locateKey(context.tree, path), key, message: issue.message, allowed: undefined }];
  }
  if (value === undefined)
    return [{ origin: locate(context.tree, path), key, message: 'is missing', allowed, isMissing: true }];
  const plain = toPlain(value);
  const shown = node?.['x-sensitive'] === true ? 'the value (not shown)' : showValue(plain);
  return [
    { origin: locate(context.tree, path), key, message: `${shown} is ${describe(issue, plain)}`, allowed },
  ];
}

function unknownKey(path: Path, { tree, schema }: Context): Problem {
  const known = keysOf(schemaAt(schema, path.slice(0, -1)) ?? {});
  const near = nearest(String(path.at(-1)), known);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  return {
    origin: locateKey(tree, path),
    key: formatPath(path),
    message: `is not a known key${hint}`,
    allowed: known.join(', '),
  };
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
      return Array.isArray(value) || typeof value === 'object' ? 'not allowed here' : 'not one of the values';
  }
}

function allowedBy(node: JsonSchema | undefined): string | undefined {
  if (node === undefined) return undefined;
  if (node['x-allowed'] !== undefined) return node['x-allowed'];
  if (node.enum !== undefined) return node.enum.join(' | ');
  const keys = keysOf(node);
  return keys.length > 0 ? `a map with ${keys.join(', ')}` : undefined;
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
