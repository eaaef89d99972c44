import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';

import type { Problem } from './problem.ts';
import type { Origin, Path, Tree, TreeEntry } from './tree.ts';

// Far more than any real configuration; what goes beyond is an alias bomb or a mistake.
const NODES_MAX = 20_000;
const DEPTH_MAX = 32;

export interface Parsed {
  readonly tree: Tree;
  readonly problems: readonly Problem[];
  /** Keys with nothing behind them, which set nothing. */
  readonly unset: readonly { readonly path: Path; readonly origin: Origin }[];
}

/** Reads one YAML document; `file` is only used to say where things are. */
export function parseYaml(text: string, file: string): Parsed {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    version: '1.2',
    schema: 'core',
    uniqueKeys: true,
    prettyErrors: false,
  });
  const problems = [...document.errors, ...document.warnings].map((error): Problem => {
    const { line, col } = lines.linePos(error.pos[0]);
    return {
      origin: `${file}:${line}:${col}`,
      key: undefined,
      message: describeSyntax(error.code, error.message),
      allowed: undefined,
    };
  });
  const empty: Tree = { kind: 'map', origin: file, entries: new Map() };
  if (problems.length > 0 || document.contents === null) return { tree: empty, problems, unset: [] };

  const builder = new TreeBuilder(document, lines, file);
  const tree = builder.build(document.contents, [], 0);
  if (builder.problems.length > 0) return { tree: empty, problems: builder.problems, unset: [] };
  // A file in which everything is commented out.
  if (tree.kind === 'leaf' && tree.value === null) return { tree: empty, problems: [], unset: [] };
  if (tree.kind !== 'map') {
    const origin = `${file}:1:1`;
    return {
      tree: empty,
      problems: [
        { origin, key: undefined, message: 'the file is not a map of keys', allowed: 'KEY: VALUE lines' },
      ],
      unset: [],
    };
  }
  return { tree, problems: [], unset: builder.unset };
}

class TreeBuilder {
  readonly problems: Problem[] = [];
  readonly unset: { path: Path; origin: Origin }[] = [];
  readonly #document: Document;
  readonly #lines: LineCounter;
  readonly #file: string;
  #nodes = 0;

  constructor(document: Document, lines: LineCounter, file: string) {
    this.#document = document;
    this.#lines = lines;
    this.#file = file;
  }

  /** Aliases are followed, so that one can be as deep and as wide as what it stands for: both are bounded. */
  build(node: unknown, path: Path, depth: number): Tree {
    const origin = this.#originOf(node);
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX || depth > DEPTH_MAX) {
      if (this.problems.length === 0)
        this.#report(origin, 'the file is nested too deeply or has too many values');
      return { kind: 'leaf', origin, value: null };
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (target !== undefined) return this.build(target, path, depth + 1);
      const { source } = node;
      this.#report(
        origin,
        `*${source} stands for a value named &${source}, and there is none`,
        `'*${source}'`,
      );
      return { kind: 'leaf', origin, value: null };
    }
    if (isScalar(node)) return { kind: 'leaf', origin, value: node.value };
    if (isSeq(node))
      return {
        kind: 'list',
        origin,
        items: node.items.map((item, index) => this.build(item, [...path, index], depth + 1)),
      };
    if (!isMap(node)) return { kind: 'leaf', origin, value: null };
    const entries = new Map<string, TreeEntry>();
    for (const pair of node.items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : undefined;
      const keyOrigin = this.#originOf(pair.key);
      if (key === undefined || key === '__proto__') {
        this.#report(keyOrigin, 'a key has to be plain text');
        continue;
      }
      const below = [...path, key];
      const value = this.build(pair.value, below, depth + 1);
      // `imds:` with nothing below it: the section stands there, but sets nothing.
      if (value.kind === 'leaf' && value.value === null) this.unset.push({ path: below, origin: keyOrigin });
      else entries.set(key, { keyOrigin, value });
    }
    return { kind: 'map', origin, entries };
  }

  #report(origin: string, message: string, allowed?: string): void {
    this.problems.push({ origin, key: undefined, message, allowed });
  }

  #originOf(node: unknown): string {
    const range = isNodeLike(node) ? node.range : undefined;
    if (range === undefined || range === null) return this.#file;
    const { line, col } = this.#lines.linePos(range[0]);
    return `${this.#file}:${line}:${col}`;
  }
}

function isNodeLike(node: unknown): node is Node {
  return isScalar(node) || isMap(node) || isSeq(node) || isAlias(node);
}

function describeSyntax(code: string, message: string): string {
  return code === 'DUPLICATE_KEY'
    ? 'the key stands here a second time'
    : `not valid YAML: ${message.split('\n')[0] ?? ''}`;
}
