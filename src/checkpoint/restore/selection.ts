import { EvictdError } from '../../base/errors.ts';
import type { DirectoryEntry, Entry, FileEntry } from '../format/entry.ts';
import { quotePath } from '../../base/files/path-name.ts';
import { TAKE_OLDER } from '../format/tree/piece.ts';
import { isOwnPath } from '../scan/own-names.ts';
import { matcher } from '../scan/set-patterns.ts';

/** Walks all entries of a checkpoint anew, in their order. */
export type Walk = () => AsyncIterable<Entry>;

/** What of a checkpoint is to be restored. */
export interface Selection {
  readonly files: number;
  readonly bytes: number;
  /** All of it: nothing was asked for by a pattern. */
  readonly isAll: boolean;
  /** `isAbove`: a folder that was not asked for itself, but holds what was. */
  entries(): AsyncIterable<{ readonly entry: Entry; readonly isAbove: boolean }>;
  /** How many other names the whole checkpoint has for a file. */
  hardLinksTo(path: string): Promise<number>;
}

/**
 * `patterns` as .gitignore reads them; none: everything. Then nothing is read here, and `totals` are the manifest's.
 * Rejects `no-match` when they name nothing, or what the walk rejects with.
 */
export async function selectEntries(
  walk: Walk,
  patterns: readonly string[] | undefined,
  totals: { readonly files: number; readonly bytes: number },
): Promise<Selection> {
  let linkCounts: Promise<ReadonlyMap<string, number>> | undefined;
  const hardLinksTo = async (path: string) => (await (linkCounts ??= countLinks(walk))).get(path) ?? 0;
  if (patterns === undefined || patterns.length === 0) {
    return { ...totals, isAll: true, entries: () => allEntries(walk), hardLinksTo };
  }
  const matches = matcher(patterns);
  // A link whose file wasn't asked for becomes that file: its entry comes earlier, and has to be kept then.
  const wantedByLink = new Set<string>();
  const isWanted = (entry: Entry) => matches(entry.type === 'directory' ? `${entry.path}/` : entry.path);
  for await (const entry of walk()) {
    if (entry.type === 'hardlink' && isWanted(entry)) wantedByLink.add(entry.target);
  }
  const entries = () => selectedEntries(walk, isWanted, wantedByLink);
  const sum = { entries: 0, files: 0, bytes: 0 };
  for await (const { entry } of entries()) {
    sum.entries++;
    if (entry.type !== 'file') continue;
    sum.files++;
    sum.bytes += entry.size;
  }
  if (sum.entries === 0) {
    throw new EvictdError(
      'no-match',
      `the checkpoint has nothing that ${patterns.map(quotePath).join(', ')} names`,
      {
        remedy: 'patterns are those of .gitignore, and paths are below the folder of the set',
      },
    );
  }
  const { files, bytes } = sum;
  return { files, bytes, isAll: false, entries, hardLinksTo };
}

async function* allEntries(walk: Walk): AsyncGenerator<{ readonly entry: Entry; readonly isAbove: boolean }> {
  for await (const entry of walk()) yield { entry: checked(entry), isAbove: false };
}

async function* selectedEntries(
  walk: Walk,
  isWanted: (entry: Entry) => boolean,
  wantedByLink: ReadonlySet<string>,
): AsyncGenerator<{ readonly entry: Entry; readonly isAbove: boolean }> {
  /** Folders that the current entry is in, and whether they were answered. */
  const above: { readonly entry: DirectoryEntry; isAnswered: boolean }[] = [];
  const files = new Map<string, FileEntry>();
  for await (const entry of walk()) {
    while (above.length > 0 && !entry.path.startsWith(`${above.at(-1)?.entry.path}/`)) above.pop();
    const isAnswered = isWanted(entry);
    if (entry.type === 'file' && !isAnswered && wantedByLink.has(entry.path)) files.set(entry.path, entry);
    if (isAnswered) {
      for (const folder of above) {
        if (!folder.isAnswered) yield { entry: folder.entry, isAbove: true };
        folder.isAnswered = true;
      }
      yield { entry: checked(asFile(entry, files)), isAbove: false };
    }
    if (entry.type === 'directory') above.push({ entry, isAnswered });
  }
}

/** The first link to a file that isn't restored has its content, and the others lead to that one. */
function asFile(entry: Entry, files: Map<string, FileEntry>): Entry {
  const file = entry.type === 'hardlink' ? files.get(entry.target) : undefined;
  if (entry.type !== 'hardlink' || file === undefined) return entry;
  if (file.path !== entry.target) return { ...entry, target: file.path };
  const moved = { ...file, path: entry.path };
  files.set(entry.target, moved);
  return moved;
}

/** No writer of ours puts these in; under such a name a file could say that the folder is complete. */
function checked(entry: Entry): Entry {
  if (!isOwnPath(entry.path)) return entry;
  throw new EvictdError(
    'bad-tree',
    `the checkpoint has an entry ${quotePath(entry.path)}, a name that is evictd's own`,
    {
      remedy: TAKE_OLDER,
    },
  );
}

async function countLinks(walk: Walk): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for await (const entry of walk()) {
    if (entry.type === 'hardlink') counts.set(entry.target, (counts.get(entry.target) ?? 0) + 1);
  }
  return counts;
}
