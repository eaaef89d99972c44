import { importsOf, type Source } from './source.ts';

const ADAPTERS = ['imds', 'hooks', 'checkpoint', 'journal', 'control', 'observe', 'config', 'mock'] as const;
const BELOW_DAEMON = ['base', 'core', ...ADAPTERS];

/** Which folders of src each one may import, besides itself. Whoever is not here may not exist. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  core: ['base'],
  ...Object.fromEntries(ADAPTERS.map((adapter) => [adapter, ['base', 'core']])),
  daemon: BELOW_DAEMON,
  cli: [...BELOW_DAEMON, 'daemon'],
  // src/main.ts itself.
  main: [...BELOW_DAEMON, 'daemon', 'cli'],
};

/**
 * The same inside of src/checkpoint, for its rooms. `types` are had for their types only: who holds the real thing is
 * passed in. A file that is in no room may import all of them, and no room imports such a file.
 */
export const ROOMS_MAY_IMPORT: Readonly<Record<string, Room>> = {
  format: { values: [] },
  store: { values: [] },
  scan: { values: ['format'] },
  pack: { values: ['format', 'store', 'scan'] },
  worker: { values: ['format', 'store', 'scan', 'pack'] },
  index: { values: ['format', 'store', 'scan'] },
  commit: { values: ['format', 'store', 'scan', 'index'], types: ['pack', 'worker'] },
  retention: { values: ['format', 'store', 'index'] },
  restore: { values: ['format', 'store', 'scan', 'index'], types: ['pack', 'worker'] },
};

interface Room {
  readonly values: readonly string[];
  readonly types?: readonly string[];
}

/** The core decides and nothing else: no I/O, no packages, nothing of Node. */
const PURE = new Set(['core']);

/** Imports that the table doesn't allow, one readable line each. */
export function checkImportTable(sources: readonly Source[]): readonly string[] {
  return sources.flatMap((source) => {
    const folder = folderOf(source.path);
    const allowed = MAY_IMPORT[folder];
    if (allowed === undefined) {
      return [
        `${source.path}: src/${folder} is not in the import table; put the file into ${Object.keys(MAY_IMPORT).join(', ')}, or add the folder with its place`,
      ];
    }
    return importsOf(source).flatMap(({ specifier, target, line }) => {
      const place = `${source.path}:${line}`;
      if (target === undefined) {
        return PURE.has(folder)
          ? [`${place}: src/${folder} imports ${specifier}; it is pure: take the value as an input instead`]
          : [];
      }
      if (!target.startsWith('src/')) return [`${place}: src imports ${target}, which is outside of src`];
      const other = folderOf(target);
      if (other === folder || allowed.includes(other)) return [];
      const rule = allowed.length === 0 ? 'nothing' : allowed.map((name) => `src/${name}`).join(', ');
      return [
        `${place}: src/${folder} imports ${target}; it may import ${rule}: pass what it needs as a dependency from src/daemon`,
      ];
    });
  });
}

/** Imports between the rooms of src/checkpoint that their table doesn't allow. */
export function checkRooms(sources: readonly Source[]): readonly string[] {
  return sources.flatMap((source) => {
    const room = roomOf(source.path);
    if (room === undefined) return [];
    const allowed = ROOMS_MAY_IMPORT[room];
    if (allowed === undefined) return [`${source.path}: the room ${room} is not in the table of rooms`];
    const { values, types = [] } = allowed;
    return importsOf(source).flatMap(({ target, line, isTypeOnly }) => {
      if (target?.startsWith('src/checkpoint/') !== true) return [];
      const other = roomOf(target);
      if (other === undefined)
        return [`${source.path}:${line}: the room ${room} imports ${target}, which is in no room`];
      if (other === room || values.includes(other) || (isTypeOnly && types.includes(other))) return [];
      const what = types.includes(other) ? 'values of ' : '';
      return [
        `${source.path}:${line}: the room ${room} imports ${what}${target}; it may import ${['itself', ...values].join(', ')}`,
      ];
    });
  });
}

/** Circles of imports between files, each named once. Type-only ones count: they hide a missing layer as well. */
export function checkCycles(sources: readonly Source[]): readonly string[] {
  const graph = new Map(
    sources.map((source) => [
      source.path,
      importsOf(source).flatMap(({ target }) => (target === undefined ? [] : [target])),
    ]),
  );
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]) => {
    const start = trail.indexOf(path);
    if (start !== -1) {
      cycles.push(
        `${[...trail.slice(start), path].join(' → ')}: a circle of imports; move what both need into a file of its own`,
      );
      return;
    }
    if (done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return cycles;
}

/**
 * Packages that are loaded as soon as the program starts: the way is `import` statements only, since what a command
 * imports inside of `run` is loaded when it is called. Answers each with the chain of files that leads to it.
 */
export function checkStart(
  sources: readonly Source[],
  entry: string,
  allowed: readonly string[],
): readonly string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const seen = new Set<string>();
  const problems: string[] = [];
  const visit = (path: string, trail: readonly string[]) => {
    const source = byPath.get(path);
    if (source === undefined || seen.has(path)) return;
    seen.add(path);
    for (const { specifier, target, isTypeOnly, isDynamic } of importsOf(source)) {
      if (isTypeOnly || isDynamic) continue;
      if (target !== undefined) visit(target, [...trail, path]);
      else if (!specifier.startsWith('node:') && !allowed.includes(specifier)) {
        const chain = [...trail, path, specifier].join(' → ');
        problems.push(`${chain}: loaded at every start; import it inside of the command's run()`);
      }
    }
  };
  visit(entry, []);
  return problems;
}

/** `src/core/event.ts` → `core`; `src/main.ts` → `main`. */
function folderOf(path: string): string {
  const [, first = ''] = path.split('/');
  return first.replace(/\.ts$/, '');
}

/** `src/checkpoint/pack/sender.ts` → `pack`; undefined for what is in no room of src/checkpoint. */
function roomOf(path: string): string | undefined {
  return /^src\/checkpoint\/([^/]+)\//.exec(path)?.[1];
}
