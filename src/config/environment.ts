import { HOOK_VARIABLES } from '../core/hook-variables.ts';
import { type JsonSchema, variants } from './json-schema.ts';
import { nearest } from './nearest.ts';
import type { Problem } from './problem.ts';
import { branch, merge, type Tree } from './tree.ts';

/** What flags are for, in a variable. They say where the configuration is, and are none of its keys. */
const OF_FLAGS = ['EVICTD_CONFIG', 'EVICTD_IMDS'];
/** They are never taken for configuration. */
const OTHERS: ReadonlySet<string> = new Set([...HOOK_VARIABLES, ...OF_FLAGS]);

export interface Variable {
  /** `EVICTD_IMDS_POLL_INTERVAL` */
  readonly name: string;
  readonly path: readonly string[];
  readonly schema: JsonSchema;
}

/** Puts the `EVICTD_*` variables on top of `tree`. A name that is no key is a problem, as in a file. */
export function applyEnvironment(
  tree: Tree,
  schema: JsonSchema,
  env: Readonly<Record<string, string | undefined>>,
): { readonly tree: Tree; readonly problems: readonly Problem[] } {
  const variables = configVariables(schema);
  const problems: Problem[] = [];
  let merged = tree;
  for (const [name, value] of Object.entries(env).toSorted(([left], [right]) => (left < right ? -1 : 1))) {
    if (!name.startsWith('EVICTD_') || value === undefined || OTHERS.has(name)) continue;
    const variable = variables.find((candidate) => candidate.name === name);
    if (variable === undefined) {
      const near = nearest(
        name,
        variables.map((candidate) => candidate.name),
      );
      const hint = near === undefined ? '' : `; did you mean ${near}?`;
      problems.push({
        origin: `environment ${name}`,
        key: undefined,
        message: `no key has this name${hint}`,
        allowed: undefined,
      });
      continue;
    }
    merged = merge(merged, branch(variable.path, scalarOf(value, variable.schema), `environment ${name}`));
  }
  return { tree: merged, problems };
}

/** Every single value of the configuration by its variable: `imds.pollInterval` is EVICTD_IMDS_POLL_INTERVAL. */
export function configVariables(schema: JsonSchema): readonly Variable[] {
  const byName = new Map<string, Variable>();
  const visit = (node: JsonSchema, path: readonly string[]) => {
    for (const variant of variants(node)) {
      if (variant.type === 'array') continue;
      if (variant.properties !== undefined) {
        for (const [key, child] of Object.entries(variant.properties)) visit(child, [...path, key]);
        continue;
      }
      const name = variableName(path);
      if (!byName.has(name)) byName.set(name, { name, path, schema: node });
    }
  };
  visit(schema, []);
  return [...byName.values()];
}

function variableName(path: readonly string[]): string {
  const words = path.map((key) =>
    key
      .replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, '_')
      .replaceAll('-', '_')
      .toUpperCase(),
  );
  return ['EVICTD', ...words].join('_');
}

/** A variable is text; numbers and booleans are made of it where the key wants one, otherwise the schema complains. */
function scalarOf(value: string, schema: JsonSchema): unknown {
  const types = variants(schema).map((variant) => variant.type);
  if (types.includes('boolean') && (value === 'true' || value === 'false')) return value === 'true';
  if (types.some((type) => type === 'integer' || type === 'number') && /^-?\d+$/.test(value))
    return Number(value);
  return value;
}
