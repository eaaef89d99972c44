import { createGroup } from '../../../base/concurrency.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { fromAnchor, LEVELS_MAX, openAnchor, setAnchor } from './anchors.ts';
import type { Anchor } from './anchors.ts';
import { entryError } from '../file-error.ts';
import { classify, createFolder, need } from './found.ts';
import type { Folder, Found, Patterns } from './found.ts';
import { isOwnPath } from '../own-names.ts';
import type { EntryFailure, ListJob, ListResult, LookJob, LookResult, ReadFailure } from '../scan-job.ts';
import { entryFailure, unpack } from '../scan-thread.ts';
import type { PackedStat } from '../scan-thread.ts';

/** What Workers has; see worker/. */
export interface Scanner {
  list(job: ListJob, signal: AbortSignal): Promise<ListResult | ReadFailure>;
  look(job: LookJob, signal: AbortSignal): Promise<LookResult | ReadFailure>;
}

/** What a thread looks at without a pause, so that what else it has to do soon gets its turn. */
export const PATHS_TOGETHER = 500;
const FOLDERS_TOGETHER = 16;
/** Two for each thread: one is done, one waits. */
export const JOBS_IN_FLIGHT = 4;
/** Entries, so that a slice takes a millisecond or two. */
const ENTRIES_TOGETHER = 250;

export interface Ground {
  /** Of the set's own open folder. */
  readonly location: string;
  readonly stats: PackedStat;
  readonly patterns: Patterns;
  readonly scanner: Scanner;
  /** Throws: the set's own folder can't be listed. */
  onRootFailure(failure: EntryFailure): never;
  /** May throw: so many entries were found so far. */
  onCount(entries: number): void;
}

export interface Walked {
  readonly root: Folder;
  /** `st_dev` of all folders. */
  readonly devices: ReadonlySet<bigint>;
  readonly specials: number;
}

/** Looks at all that is in the set's folder. Rejects with what the ground's functions throw, or the signal's reason. */
export async function walkFolders(ground: Ground, signal: AbortSignal): Promise<Walked> {
  const root = createFolder({ path: '', parent: undefined }, false, ground.stats);
  const walk: Walk = {
    ...ground,
    pending: [{ folder: root, anchor: setAnchor(ground.location) }],
    listed: [],
    devices: new Set([ground.stats.dev]),
    specials: 0,
    count: 0,
  };
  const group = createGroup(signal);
  let running = 0;
  const start = () => {
    while (running < JOBS_IN_FLIGHT && !group.signal.aborted) {
      const job = nextJob(walk);
      if (job === undefined) return;
      running++;
      group.run(async (within) => {
        await job(within);
        running--;
        start();
      });
    }
  };
  try {
    start();
    await group.settled();
  } finally {
    for (const { anchor } of [...walk.pending, ...walk.listed]) anchor.release();
  }
  return { root, devices: walk.devices, specials: walk.specials };
}

interface Walk extends Ground {
  /** Folders that are to be listed, the next one last: depth first, so that there are never many. */
  readonly pending: Pending[];
  /** Names that are to be looked at. */
  readonly listed: Listed[];
  readonly devices: Set<bigint>;
  specials: number;
  count: number;
}

/** Either holds its anchor. */
interface Pending {
  readonly folder: Folder;
  readonly anchor: Anchor;
}

interface Listed {
  readonly anchor: Anchor;
  /** Undefined for what doesn't belong to the set. */
  readonly places: Places;
}

type Places = Generator<Omit<Place, 'part'> | undefined, void>;

interface Place {
  readonly path: string;
  readonly parent: Folder;
  /** Where in the folder it is to be noted. */
  readonly part: Found[];
}

type Job = (signal: AbortSignal) => Promise<void>;

/** What was listed is looked at before more is listed: names are what takes memory. */
function nextJob(walk: Walk): Job | undefined {
  const listed = walk.listed.at(-1);
  if (listed !== undefined) return nextLook(walk, listed);
  const first = walk.pending.pop();
  if (first === undefined) return undefined;
  const { folder, anchor } = first;
  if (isFar(first)) return (signal) => listFar(walk, first, signal);
  const folders = [folder];
  for (let next = walk.pending.at(-1); next !== undefined; next = walk.pending.at(-1)) {
    if (folders.length === FOLDERS_TOGETHER || next.anchor !== anchor || isFar(next)) break;
    walk.pending.pop();
    anchor.release();
    folders.push(next.folder);
  }
  return (signal) => list(walk, folders, anchor, signal);
}

function isFar({ folder, anchor }: Pending): boolean {
  return folder.depth - anchor.depth >= LEVELS_MAX;
}

async function listFar(walk: Walk, { folder, anchor }: Pending, signal: AbortSignal): Promise<void> {
  let own: Anchor;
  try {
    own = await openAnchor(anchor, folder.path, folder.depth);
  } catch (error) {
    noteUnlisted(walk, folder, entryFailure(error));
    return;
  } finally {
    anchor.release();
  }
  await list(walk, [folder], own, signal);
}

/** Finds out what may belong to the set. The anchor is held already. */
async function list(
  walk: Walk,
  folders: readonly Folder[],
  anchor: Anchor,
  signal: AbortSignal,
): Promise<void> {
  using _ = holding(anchor);
  const job = { root: anchor.location, folders: folders.map(({ path }) => fromAnchor(anchor, path)) };
  const answer = await walk.scanner.list(job, signal);
  if (answer.kind === 'failed') return walk.onRootFailure(answer);
  const lists: NamesOf[] = [];
  for (const [index, folder] of folders.entries()) {
    const names = answer.names[index] ?? '';
    if (typeof names === 'string') lists.push({ folder, names });
    else noteUnlisted(walk, folder, names);
  }
  anchor.hold();
  walk.listed.push({ anchor, places: placesIn(walk, lists) });
}

function noteUnlisted(walk: Walk, folder: Folder, failure: EntryFailure): void {
  if (folder.parent === undefined) walk.onRootFailure(failure);
  else if (failure.errno === 'gone') folder.parent.disturbed = true;
  else {
    folder.unlisted = entryError(failure, folder.path);
    need(folder);
  }
}

interface NamesOf {
  readonly folder: Folder;
  readonly names: string;
}

function* placesIn({ patterns }: Walk, lists: readonly NamesOf[]): Places {
  const { excludes, excludesByType } = patterns;
  for (const { folder, names } of lists) {
    for (const name of split(names)) {
      const path = folder.path === '' ? name : `${folder.path}/${name}`;
      const isOut = isOwnPath(path) || (excludes(path) && (!excludesByType || excludes(`${path}/`)));
      yield isOut ? undefined : { path, parent: folder };
    }
  }
}

function* split(names: string): Generator<string> {
  for (let start = 0; start < names.length;) {
    const end = names.indexOf('/', start);
    yield names.slice(start, end === -1 ? undefined : end);
    start = end === -1 ? names.length : end + 1;
  }
}

function nextLook(walk: Walk, { anchor, places }: Listed): Job {
  const some: Place[] = [];
  anchor.hold();
  for (let names = 0; names < PATHS_TOGETHER; names++) {
    const { done, value } = places.next();
    if (done === true) {
      walk.listed.pop();
      anchor.release();
      break;
    }
    if (value === undefined) continue;
    const before = some.at(-1);
    const isNew = before?.parent !== value.parent;
    const part = isNew ? [] : before.part;
    if (isNew) value.parent.parts.push(part);
    some.push({ ...value, part });
  }
  return (signal) => look(walk, some, anchor, signal);
}

/** Looks at what is there; the folders among it are the next ones. The anchor is held already. */
async function look(
  walk: Walk,
  places: readonly Place[],
  anchor: Anchor,
  signal: AbortSignal,
): Promise<void> {
  using _ = holding(anchor);
  const paths = places.map(({ path }) => fromAnchor(anchor, path));
  const answer = await walk.scanner.look({ root: anchor.location, paths }, signal);
  if (answer.kind === 'failed') return walk.onRootFailure(answer);
  const folders: Folder[] = [];
  const noteAt = (index: number) => {
    const place = places[index];
    if (place === undefined) return;
    const found = classify(
      {
        ...place,
        stats: unpack(answer.stats, index),
        target: answer.targets.get(index),
        failure: answer.failures.get(index),
      },
      walk.patterns,
    );
    if (found === 'special') walk.specials++;
    else if (found !== undefined) note(walk, place, found, folders);
  };
  await forEachInSlices(places.keys(), noteAt, signal, ENTRIES_TOGETHER);
  walk.onCount(walk.count);
  for (const folder of folders.toReversed()) {
    anchor.hold();
    walk.pending.push({ folder, anchor });
  }
}

function note(walk: Walk, { parent, part }: Place, found: Found, folders: Folder[]): void {
  walk.count++;
  part.push(found);
  if (!('parts' in found)) return need(parent);
  if (found.included) need(found);
  folders.push(found);
  walk.devices.add(found.stats.dev);
}

function holding(anchor: Anchor): Disposable {
  return { [Symbol.dispose]: () => anchor.release() };
}
