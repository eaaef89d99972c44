import { find, formatPath, NAMED_LISTS, nameOf, type Path, type Tree } from './tree.ts';

/**
 * When what `path` names lies in a hook, set or notification that a later file seems to add, says so: most likely the
 * name of an earlier one is misspelt. `hook "cc" is new here (known: a, b, c) and `, to be continued; else empty.
 */
export function newcomer(tree: Tree, path: Path): string {
  const list = NAMED_LISTS.find((name) => formatPath(path).startsWith(`${name}[`));
  if (list === undefined) return '';
  const listPath = list.split('.');
  const items = find(tree, listPath);
  const item = find(tree, path.slice(0, listPath.length + 1));
  const name = item === undefined ? undefined : nameOf(item);
  if (items?.kind !== 'list' || item === undefined || name === undefined) return '';
  const others = items.items.filter((other) => other !== item);
  if (others.every((other) => fileOf(other) === fileOf(item))) return '';
  const known = others.flatMap((other) => nameOf(other) ?? []).join(', ');
  return `${WORDS[list] ?? 'entry'} ${JSON.stringify(name)} is new here (known: ${known}) and `;
}

const WORDS: Readonly<Record<string, string>> = {
  hooks: 'hook',
  'checkpoint.sets': 'set',
  notify: 'notification',
};

/** Without line and column. */
function fileOf({ origin }: Tree): string {
  return origin.replace(/:\d+:\d+$/, '');
}
