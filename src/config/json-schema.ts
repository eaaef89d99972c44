import * as z from 'zod';

import { Config } from './schema.ts';

/** The part of JSON Schema that the configuration's schema makes use of. */
export interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  /** What the value may be, for people. */
  readonly 'x-allowed'?: string;
  /** A value to show where there is no default. */
  readonly 'x-example'?: unknown;
  /** The value may be a secret put into the wrong place: never shown. */
  readonly 'x-sensitive'?: boolean;
  /** The unit that a number without one most likely meant. */
  readonly 'x-unit'?: string;
}

/** JSON Schema (2020-12) of a config file, for editors. */
export function configJsonSchema(): JsonSchema {
  // zod types its answer with `unknown` values beside the keywords; those used here are JSON Schema's own.
  return z.toJSONSchema(Config, { io: 'input', target: 'draft-2020-12' }) as JsonSchema;
}

/** The alternatives a node may be; itself when it has none. */
export function variants(schema: JsonSchema): readonly JsonSchema[] {
  return schema.anyOf ?? schema.oneOf ?? [schema];
}

/** What a value at `path` may be; undefined for a path that the schema doesn't know. */
export function schemaAt(schema: JsonSchema, path: readonly PropertyKey[]): JsonSchema | undefined {
  const [step, ...rest] = path;
  if (step === undefined) return schema;
  for (const variant of variants(schema)) {
    const child = typeof step === 'number' ? variant.items : childOf(variant, String(step));
    const found = child === undefined ? undefined : schemaAt(child, rest);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The values that choose between the alternatives of what is around `path`, when `path` is the key that chooses. */
export function choicesAt(schema: JsonSchema, path: readonly PropertyKey[]): readonly unknown[] {
  const around = schemaAt(schema, path.slice(0, -1));
  return variants(around ?? {}).flatMap(({ properties }) => properties?.[String(path.at(-1))]?.const ?? []);
}

/** Every key that may stand at this node, whichever alternative is chosen. */
export function keysOf(schema: JsonSchema): readonly string[] {
  return [...new Set(variants(schema).flatMap((variant) => Object.keys(variant.properties ?? {})))];
}

function childOf(schema: JsonSchema, key: string): JsonSchema | undefined {
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, key)) return schema.properties[key];
  return typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined;
}
