import { isOwnPath } from '../own-names.ts';
import type { Folder, Found, Patterns } from './found.ts';

/** What a thread looks at without a pause, so that what else it has to do soon gets its turn. */
export const PATHS_TOGETHER = 500;

/** What a walk has seen, by folder: what is as it was then needn't be made again by the next one, which is most of it. */
export type SeenBefore = ReadonlyMap<string, SeenFolder>;

export interface SeenFolder {
  /** All of them, as they were listed. */
  readonly names: string;
  /** At most PATHS_TOGETHER of its entries each, in order. */
  readonly parts: SeenPart[];
}

export interface SeenPart {
  readonly paths: readonly string[];
  /** Of these; undefined where something could not be looked at. */
  stats: BigInt64Array | undefined;
  found: Found[];
  specials: number;
}

/** Some entries of a folder that may belong to the set, in order. */
export interface Part {
  readonly parent: Folder;
  readonly seen: SeenPart;
  /** The same ones in the walk before. */
  readonly before: SeenPart | undefined;
}

/** A walk that remembers. */
interface Remembering {
  readonly patterns: Patterns;
  readonly before: SeenBefore | undefined;
  readonly seen: Map<string, SeenFolder>;
}

export interface NamesOf {
  readonly folder: Folder;
  readonly names: string;
}

/** Cut at the same places each time. */
export function* partsOf(walk: Remembering, lists: readonly NamesOf[]): Generator<Part, void> {
  for (const { folder, names } of lists) {
    const known = walk.before?.get(folder.path);
    const former = known?.names === names ? known.parts : undefined;
    const parts: SeenPart[] = [];
    walk.seen.set(folder.path, { names, parts });
    for (const paths of former?.map((part) => part.paths) ?? pathsIn(walk, folder, names)) {
      const seen = { paths, stats: undefined, found: [], specials: 0 };
      yield { parent: folder, seen, before: former?.[parts.length] };
      parts.push(seen);
    }
  }
}

function* pathsIn(
  { patterns: { excludes, excludesByType } }: Remembering,
  folder: Folder,
  names: string,
): Generator<readonly string[]> {
  let paths: string[] = [];
  for (const name of split(names)) {
    const path = folder.path === '' ? name : `${folder.path}/${name}`;
    if (isOwnPath(path) || (excludes(path) && (!excludesByType || excludes(`${path}/`)))) continue;
    if (paths.push(path) < PATHS_TOGETHER) continue;
    yield paths;
    paths = [];
  }
  if (paths.length > 0) yield paths;
}

function* split(names: string): Generator<string> {
  for (let start = 0; start < names.length;) {
    const end = names.indexOf('/', start);
    yield names.slice(start, end === -1 ? undefined : end);
    start = end === -1 ? names.length : end + 1;
  }
}

/** Nothing has changed there. */
export function isSameSeen(one: BigInt64Array | undefined, other: BigInt64Array | undefined): boolean {
  if (one === undefined || other === undefined) return false;
  const [bytes, others] = [one, other].map(
    ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  );
  return bytes !== undefined && others !== undefined && Buffer.compare(bytes, others) === 0;
}
