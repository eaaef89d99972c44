import { stringify } from 'yaml';

import { wrapWords } from '../base/wrap.ts';
import { configVariables } from './environment.ts';
import { configJsonSchema, type JsonSchema, variants } from './json-schema.ts';

const COMMENT_COLUMNS = 100;

/**
 * Every key as an annotated config file that may be copied as it is: it holds the defaults,
 * and what has none is commented out.
 */
export function configReference(): string {
  const schema = configJsonSchema();
  const variableNames = new Map(configVariables(schema).map(({ name, path }) => [path.join('.'), name]));
  const sections = Object.entries(schema.properties ?? {}).map(([key, node]) =>
    entryLines(key, node, { path: [key], isActive: true, variableNames }).join('\n'),
  );
  return [...introduction().map(comment), '', sections.join('\n\n'), ''].join('\n');
}

interface Place {
  readonly path: readonly string[];
  /** False inside of what is commented out as a whole. */
  readonly isActive: boolean;
  readonly variableNames: ReadonlyMap<string, string>;
}

function introduction(): readonly string[] {
  return [
    'Configuration of evictd. The values are the defaults; what has none is commented out.',
    '',
    'Read in this order, later ones win: this file, conf.d/*.yaml beside it in name order, the variables',
    'named below, flags. Maps are merged; hooks, sets and notifications are merged by name; other lists',
    'are replaced. Durations are written 500ms, 8s, 5m, 1h; sizes 64KiB, 8MiB, 1GiB.',
  ];
}

/** One key with its comment and everything below it, without indentation. */
function entryLines(key: string, node: JsonSchema, place: Place): readonly string[] {
  const isActive = place.isActive && node.default !== undefined;
  const inner = { ...place, isActive };
  const lines = [...describe(node, place), ...bodyLines(key, node, inner)];
  return place.isActive && !isActive
    ? lines.map((line) => (line.startsWith('#') ? line : comment(line)))
    : lines;
}

function bodyLines(key: string, node: JsonSchema, place: Place): readonly string[] {
  const item = node.items;
  if (item?.properties !== undefined) {
    const entries = childLines(item, { ...place, isActive: false });
    const [first = '', ...rest] = entries.map((line) => `  ${line}`);
    const template = [`${key}:`, ...describe(item, place).map(indented), ...listItem([first, ...rest])];
    return place.isActive ? [`${key}: []`, ...template.map((line) => comment(line))] : template;
  }
  const map = variants(node).find((variant) => variant.properties !== undefined);
  const isMap = node.default === undefined || typeof node.default === 'object';
  const others = variants(node)
    .filter((variant) => (isMap ? variant !== map : variant === map))
    .map((variant) => comment(`or ${key}: ${flow(exampleOf(variant))}`));
  if (map === undefined || !isMap)
    return [`${key}: ${flow(node.default ?? exampleOf(node))}`, ...(map === undefined ? [] : others)];
  return [`${key}:`, ...childLines(map, place).map(indented), ...others];
}

function childLines(map: JsonSchema, place: Place): readonly string[] {
  return Object.entries(map.properties ?? {}).flatMap(([key, child]) =>
    entryLines(key, child, { ...place, path: [...place.path, key] }),
  );
}

/** Puts the dash before the first line that is no comment. */
function listItem(lines: readonly string[]): readonly string[] {
  const first = lines.findIndex((line) => !line.trimStart().startsWith('#'));
  return lines.map((line, index) => (index === first ? `  - ${line.trimStart()}` : `  ${line}`));
}

function describe(node: JsonSchema, { path, variableNames }: Place): readonly string[] {
  const variable = variableNames.get(path.join('.'));
  const isLeaf = variants(node).every((variant) => variant.properties === undefined);
  const allowed = isLeaf && node['x-allowed'] !== undefined ? [`Allowed: ${node['x-allowed']}.`] : [];
  const text = [node.description ?? '', ...allowed, ...(variable === undefined ? [] : [`[${variable}]`])];
  return wrapWords(text.join(' ').trim(), COMMENT_COLUMNS).map(comment);
}

/** A value to put where there is no default. */
function exampleOf(node: JsonSchema): unknown {
  if (node['x-example'] !== undefined) return node['x-example'];
  if (node.const !== undefined) return node.const;
  if (node.enum !== undefined) return node.enum[0];
  if (node.items !== undefined) return [exampleOf(node.items)];
  if (node.properties !== undefined) {
    return Object.fromEntries(
      Object.entries(node.properties).map(([key, child]) => [key, child.default ?? exampleOf(child)]),
    );
  }
  return '…';
}

function flow(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0, singleQuote: false }).trimEnd();
}

function comment(line: string): string {
  return line === '' ? '#' : `# ${line}`;
}

function indented(line: string): string {
  return `  ${line}`;
}
