import * as z from 'zod';

import { Config } from './schema.ts';
import { find, formatPath, type Path, type Tree } from './tree.ts';

export interface EffectiveValue {
  /** `checkpoint.sets[0].path` */
  readonly key: string;
  /** As a config file would write it: durations and sizes with their unit. */
  readonly value: unknown;
  /** `FILE:LINE:COL`, `environment NAME`, a flag, or `default`. */
  readonly origin: string;
}

/** Every single value of a parsed config, the defaults included, with where it comes from. */
export function effectiveValues(config: Config, tree: Tree): readonly EffectiveValue[] {
  return leavesOf(writtenForm(config), []).map(({ path, value }) => ({
    key: formatPath(path),
    value,
    origin: find(tree, path)?.origin ?? 'default',
  }));
}

/** The config as one file would have to write it to mean the same. */
export function writtenForm(config: Config): unknown {
  return z.encode(Config, config);
}

function leavesOf(value: unknown, path: Path): { path: Path; value: unknown }[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    const isListOfMaps = items.some((item) => typeof item === 'object');
    return isListOfMaps
      ? items.flatMap((item, index) => leavesOf(item, [...path, index]))
      : [{ path, value }];
  }
  if (typeof value !== 'object' || value === null) return [{ path, value }];
  return Object.entries(value).flatMap(([key, child]) => leavesOf(child, [...path, key]));
}
