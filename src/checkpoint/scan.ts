import { constants } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import { abandonOn } from '../base/abort.ts';
import { AssertionFailed } from '../base/assert.ts';
import { forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { readError } from './file-error.ts';
import { statOf } from './file-stat.ts';
import type { FileStat } from './file-stat.ts';
import { groupHardLinks } from './hard-links.ts';
import { isOwnPath } from './own-names.ts';
import type { ListJob, LookJob, LookResult, ReadResult } from './read-job.ts';
import type { Reader } from './reader.ts';
import { unpack } from './scan-thread.ts';
import type { PackedStat } from './scan-thread.ts';
import { ENTRIES_MAX } from './schema.ts';
import { checkSetFolder, folderMissing } from './set-folder.ts';
import type { SetFolder } from './set-folder.ts';
import { matcher } from './set-patterns.ts';

export interface SetOptions {
  readonly name: string;
  /** The folder. */
  readonly path: string;
  /**
   * Globs below the folder, as .gitignore reads them: without a slash (`*.tmp`) at any depth, with one from the top
   * (`/a`, `a/*.bin`, `**`); a pattern that names a folder names all that is in it.
   */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Lower is committed first; that order is the caller's to keep. */
  readonly priority: number;
  /** How new content is stored. */
  readonly compress?: 'none' | 'zstd';
}

interface Attributes {
  /** Relative to the set; see path-name.ts. */
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface ScannedFile extends Attributes {
  readonly stat: FileStat;
}

export interface ScannedDirectory extends Attributes {
  readonly mtimeNs: bigint;
}

export interface ScannedSymlink extends Attributes {
  readonly target: string;
}

/** Another name of a file that is among the `files` of the same scan. */
export interface ScannedHardLink extends ScannedFile {
  /** Path of that file. */
  readonly target: string;
}

export interface Scan {
  /** The set's own folder. */
  readonly root: Omit<Attributes, 'path'>;
  readonly files: readonly ScannedFile[];
  readonly hardLinks: readonly ScannedHardLink[];
  readonly directories: readonly ScannedDirectory[];
  readonly symlinks: readonly ScannedSymlink[];
  /** Sockets, pipes and devices: left out. */
  readonly specials: number;
  /** `st_dev` of the set's own folder and those in it. */
  readonly devices: ReadonlySet<bigint>;
  /** Where something was made, removed or renamed meanwhile: what moved from one to another may be missing. */
  readonly foldersChanged: readonly string[];
}

/** What a thread looks at without a pause, so that what else it has to do soon gets its turn. */
const PATHS_TOGETHER = 500;
const FOLDERS_TOGETHER = 16;
/** Two for each reading thread: one is done, one waits. */
const JOBS_IN_FLIGHT = 4;

/**
 * All that belongs to the set, each list in the same order each time: a folder's own entries in the order of their
 * names, before what is further down. Links are not followed, so nothing outside the folder is seen.
 * Throws `set-path-missing`, `restore-unfinished`, `file-unreadable`, `too-many-files`, or the signal's reason.
 */
export async function scanSet(
  set: SetOptions,
  folder: SetFolder,
  reader: Reader,
  signal: AbortSignal,
): Promise<Scan> {
  const root = await checkSetFolder(set, folder);
  const walk: Walk = {
    set,
    folder,
    includes: matcher(set.include),
    excludes: matcher(set.exclude),
    ask: (job) => abandonOn(signal, reader.run(job)),
    found: { files: [], linkedFiles: [], directories: [], symlinks: [] },
    needed: new Set(),
    devices: new Set([root.dev]),
    specials: 0,
    count: 0,
  };
  let folders: readonly Place[] = [{ path: '', included: false }];
  while (folders.length > 0) folders = await look(walk, await list(walk, folders, signal), signal);
  const { files, linkedFiles, directories, symlinks } = walk.found;
  const { first, others } = groupHardLinks(linkedFiles);
  return {
    root: { mode: Number(root.mode) & 0o7777, uid: Number(root.uid), gid: Number(root.gid) },
    files: files.concat(first),
    hardLinks: others,
    directories: directories.filter(({ path, included }) => included || walk.needed.has(path)),
    symlinks,
    specials: walk.specials,
    devices: walk.devices,
    foldersChanged: await foldersChanged(walk, root, signal),
  };
}

interface Place {
  readonly path: string;
  /** It or a folder above it is named by an include pattern. */
  readonly included: boolean;
}

interface Found {
  readonly files: ScannedFile[];
  /** Files with more than one name, in the set or elsewhere. */
  readonly linkedFiles: ScannedFile[];
  readonly directories: (ScannedDirectory & { readonly included: boolean })[];
  readonly symlinks: ScannedSymlink[];
}

interface Walk {
  readonly set: SetOptions;
  readonly folder: SetFolder;
  readonly includes: (path: string) => boolean;
  readonly excludes: (path: string) => boolean;
  readonly ask: (job: ListJob | LookJob) => Promise<ReadResult>;
  found: Found;
  /** Folders above something included. */
  readonly needed: Set<string>;
  readonly devices: Set<bigint>;
  specials: number;
  count: number;
}

/** What is in the folders and may belong to the set. */
async function list(walk: Walk, folders: readonly Place[], signal: AbortSignal): Promise<readonly Place[]> {
  const { set, folder: setFolder, includes, excludes } = walk;
  const parts = await inParts(folders, FOLDERS_TOGETHER, signal, async (some) => {
    const answer = await walk.ask({
      kind: 'list',
      root: setFolder.location,
      folders: some.map(({ path }) => path),
    });
    if (answer.kind === 'failed') throw readError(answer, answer.path ?? set.path);
    if (answer.kind !== 'listed') throw new AssertionFailed(`a list was answered by ${answer.kind}`);
    const places: Place[] = [];
    for (const [index, folder] of some.entries()) {
      const names = answer.names[index];
      // A folder that is gone again, or is something else by now, has no names; the set's own has to be there.
      if (names === undefined && folder.path === '') throw folderMissing(set);
      await forEachInSlices(split(names ?? ''), (name) => {
        const path = folder.path === '' ? name : `${folder.path}/${name}`;
        if (isOwnPath(path) || excludes(path)) return;
        places.push({ path, included: folder.included || includes(path) });
      });
    }
    return places;
  });
  return parts.flat();
}

function* split(names: string): Iterable<string> {
  for (let start = 0; start < names.length;) {
    const end = names.indexOf('/', start);
    yield names.slice(start, end === -1 ? undefined : end);
    start = end === -1 ? names.length : end + 1;
  }
}

/** Looks at what is there, and answers the folders among it. */
async function look(walk: Walk, places: readonly Place[], signal: AbortSignal): Promise<readonly Place[]> {
  const { set, found } = walk;
  const parts = await inParts(places, PATHS_TOGETHER, signal, async (some) => {
    const answer = await askLook(walk, some);
    const part: Found = { files: [], linkedFiles: [], directories: [], symlinks: [] };
    for (const [index, place] of some.entries()) {
      const stats = unpack(answer.stats, index);
      if (stats !== undefined) note(walk, part, place, stats, answer.targets.get(index));
    }
    if (walk.count > ENTRIES_MAX) throw tooManyFiles(set);
    return part;
  });
  walk.found = {
    files: found.files.concat(...parts.map(({ files }) => files)),
    linkedFiles: found.linkedFiles.concat(...parts.map(({ linkedFiles }) => linkedFiles)),
    directories: found.directories.concat(...parts.map(({ directories }) => directories)),
    symlinks: found.symlinks.concat(...parts.map(({ symlinks }) => symlinks)),
  };
  return parts.flatMap(({ directories }) => directories);
}

function note(
  walk: Walk,
  part: Found,
  { path, included }: Place,
  stats: PackedStat,
  target: string | undefined,
): void {
  const mode = Number(stats.mode);
  const type = mode & constants.S_IFMT;
  const attributes = { path, mode: mode & 0o7777, uid: Number(stats.uid), gid: Number(stats.gid) };
  if (type === constants.S_IFDIR) {
    part.directories.push({ ...attributes, mtimeNs: stats.mtimeNs, included });
    walk.devices.add(stats.dev);
  } else if (!included) {
    return;
  } else if (type === constants.S_IFREG) {
    (stats.nlink > 1n ? part.linkedFiles : part.files).push({ ...attributes, stat: statOf(stats) });
  } else if (target !== undefined) {
    part.symlinks.push({ ...attributes, target });
  } else {
    walk.specials++;
    walk.count--;
  }
  walk.count++;
  if (included) need(walk.needed, path);
}

/** Any change of a folder's names is a change of its time. The set's own folder is `.`. */
async function foldersChanged(
  walk: Walk,
  root: BigIntStats,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { set, folder, found } = walk;
  const parts = await inParts(found.directories, PATHS_TOGETHER, signal, async (some) => {
    const answer = await askLook(walk, some);
    return some.filter(({ mtimeNs }, index) => unpack(answer.stats, index)?.mtimeNs !== mtimeNs);
  });
  const isRoot = (await checkSetFolder(set, folder)).mtimeNs !== root.mtimeNs;
  return [...(isRoot ? ['.'] : []), ...parts.flat().map(({ path }) => path)];
}

async function askLook(walk: Walk, places: readonly { readonly path: string }[]): Promise<LookResult> {
  const { set, folder, ask } = walk;
  const answer = await ask({ kind: 'look', root: folder.location, paths: places.map(({ path }) => path) });
  if (answer.kind === 'failed') throw readError(answer, answer.path ?? set.path);
  if (answer.kind !== 'looked') throw new AssertionFailed(`a look was answered by ${answer.kind}`);
  return answer;
}

/** Some at a time, several of those at once; the answers in the order of the items. */
async function inParts<T, R>(
  items: readonly T[],
  together: number,
  signal: AbortSignal,
  work: (some: readonly T[]) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = [];
  const starts = Array.from({ length: Math.ceil(items.length / together) }, (_, part) => part * together);
  await forEachLimit(starts, JOBS_IN_FLIGHT, signal, async (start) => {
    results[start / together] = await work(items.slice(start, start + together));
  });
  return results;
}

function tooManyFiles({ name }: SetOptions): EvictdError {
  return new EvictdError('too-many-files', `checkpoint set ${name} has more than ${ENTRIES_MAX} entries`, {
    remedy: 'split it into several sets, or pack the files',
  });
}

function need(needed: Set<string>, path: string): void {
  for (let end = path.lastIndexOf('/'); end !== -1; end = path.lastIndexOf('/', end - 1)) {
    const parent = path.slice(0, end);
    if (needed.has(parent)) return;
    needed.add(parent);
  }
}
