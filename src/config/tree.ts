/** Where a value was written: `FILE:LINE:COL`, the name of a variable, or a flag. */
export type Origin = string;

/** Configuration as it was written, before the schema has seen it: every node knows where it comes from. */
export type Tree = TreeMap | TreeList | TreeLeaf;

export interface TreeMap {
  readonly kind: 'map';
  readonly origin: Origin;
  readonly entries: ReadonlyMap<string, TreeEntry>;
}

export interface TreeEntry {
  /** Where the key stands; the value's own origin is in `value`. */
  readonly keyOrigin: Origin;
  readonly value: Tree;
}

export interface TreeList {
  readonly kind: 'list';
  readonly origin: Origin;
  readonly items: readonly Tree[];
}

export interface TreeLeaf {
  readonly kind: 'leaf';
  readonly origin: Origin;
  readonly value: unknown;
}

export type Path = readonly PropertyKey[];

// Their items have names, by which a later file changes them; every other list is replaced as a whole.
export const NAMED_LISTS: readonly string[] = ['hooks', 'checkpoint.sets', 'notify'];

/** `over` on top of `base`: maps key by key, lists of named items by name, everything else replaced. */
export function merge(base: Tree, over: Tree, path: Path = []): Tree {
  if (base.kind === 'map' && over.kind === 'map') {
    const entries = new Map(base.entries);
    for (const [key, entry] of over.entries) {
      const below = base.entries.get(key);
      const value = below === undefined ? entry.value : merge(below.value, entry.value, [...path, key]);
      entries.set(key, { keyOrigin: entry.keyOrigin, value });
    }
    return { kind: 'map', origin: over.origin, entries };
  }
  if (base.kind === 'list' && over.kind === 'list' && NAMED_LISTS.includes(formatPath(path))) {
    const items = [...base.items];
    for (const item of over.items) {
      const name = nameOf(item);
      const index = name === undefined ? -1 : items.findIndex((other) => nameOf(other) === name);
      const below = items[index];
      if (below === undefined) items.push(item);
      else items[index] = merge(below, item, [...path, index]);
    }
    return { kind: 'list', origin: over.origin, items };
  }
  return over;
}

/** Items of one file that would silently become one, because they have the same name. */
export function duplicateNames(
  tree: Tree,
): { readonly path: Path; readonly name: string; readonly origin: Origin }[] {
  return NAMED_LISTS.flatMap((listPath) => {
    const path = listPath.split('.');
    const list = find(tree, path);
    if (list?.kind !== 'list') return [];
    const seen = new Set<string>();
    return list.items.flatMap((item, index) => {
      const name = nameOf(item);
      if (name === undefined) return [];
      const isDuplicate = seen.has(name);
      seen.add(name);
      return isDuplicate ? [{ path: [...path, index, 'name'], name, origin: locate(item, ['name']) }] : [];
    });
  });
}

/** The plain value that the schema parses. */
export function toPlain(tree: Tree): unknown {
  switch (tree.kind) {
    case 'leaf':
      return tree.value;
    case 'list':
      return tree.items.map(toPlain);
    case 'map':
      return Object.fromEntries([...tree.entries].map(([key, entry]) => [key, toPlain(entry.value)]));
  }
}

export function find(tree: Tree, path: Path): Tree | undefined {
  let node: Tree | undefined = tree;
  for (const step of path) {
    if (node?.kind === 'map') node = node.entries.get(String(step))?.value;
    else if (node?.kind === 'list') node = node.items[Number(step)];
    else return undefined;
  }
  return node;
}

/** Origin of what stands at `path`, or of the nearest thing around it when nothing does. */
export function locate(tree: Tree, path: Path): Origin {
  for (let length = path.length; length > 0; length--) {
    const node = find(tree, path.slice(0, length));
    if (node !== undefined) return node.origin;
  }
  return tree.origin;
}

/** Origin of the key that `path` ends in. */
export function locateKey(tree: Tree, path: Path): Origin {
  const parent = find(tree, path.slice(0, -1));
  const entry = parent?.kind === 'map' ? parent.entries.get(String(path.at(-1))) : undefined;
  return entry?.keyOrigin ?? locate(tree, path);
}

/** A tree with one leaf at `path`, as environment variables and flags set it. */
export function branch(path: readonly string[], value: unknown, origin: Origin): Tree {
  return path.reduceRight<Tree>(
    (below, key) => ({ kind: 'map', origin, entries: new Map([[key, { keyOrigin: origin, value: below }]]) }),
    { kind: 'leaf', origin, value },
  );
}

/** `checkpoint.sets[0].path`. */
export function formatPath(path: Path): string {
  return path
    .map((step, index) =>
      typeof step === 'number' ? `[${step}]` : `${index === 0 ? '' : '.'}${String(step)}`,
    )
    .join('');
}

export function nameOf(item: Tree): string | undefined {
  const name = item.kind === 'map' ? item.entries.get('name')?.value : undefined;
  return name?.kind === 'leaf' && typeof name.value === 'string' ? name.value : undefined;
}
