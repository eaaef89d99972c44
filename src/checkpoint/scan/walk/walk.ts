import { createGroup } from '../../../base/concurrency.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { fromAnchor, LEVELS_MAX, openAnchor, setAnchor } from './anchors.ts';
import type { Anchor } from './anchors.ts';
import { entryError } from '../file-error.ts';
import { classify, createFolder, need } from './found.ts';
import type { Folder, Found, Patterns } from './found.ts';
import { PATHS_TOGETHER, isSameSeen, partsOf } from './parts.ts';
import type { NamesOf, Part, SeenBefore, SeenFolder, SeenPart } from './parts.ts';
import type { EntryFailure, ListJob, ListResult, LookJob, LookResult, ReadFailure } from '../scan-job.ts';
import { entryFailure, rowsOf, unpack } from '../scan-thread.ts';
import type { PackedStat } from '../scan-thread.ts';

/** What Workers has; see worker/. */
export interface Scanner {
  list(job: ListJob, signal: AbortSignal): Promise<ListResult | ReadFailure>;
  look(job: LookJob, signal: AbortSignal): Promise<LookResult | ReadFailure>;
}

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
  /** For the next walk over the same ground. */
  readonly seen: SeenBefore;
}

/** Looks at all that is in the set's folder. Rejects with what the ground's functions throw, or the signal's reason. */
export async function walkFolders(
  ground: Ground,
  before: SeenBefore | undefined,
  signal: AbortSignal,
): Promise<Walked> {
  const root = createFolder({ path: '', parent: undefined }, false, ground.stats);
  const walk: Walk = {
    ...ground,
    before,
    seen: new Map(),
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
  const { devices, specials, seen } = walk;
  return { root, devices, specials, seen };
}

interface Walk extends Ground {
  readonly before: SeenBefore | undefined;
  readonly seen: Map<string, SeenFolder>;
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
  readonly parts: Generator<Part, void>;
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
  walk.listed.push({ anchor, parts: partsOf(walk, lists) });
}

function noteUnlisted(walk: Walk, folder: Folder, failure: EntryFailure): void {
  if (folder.parent === undefined) walk.onRootFailure(failure);
  else if (failure.errno === 'gone') folder.parent.disturbed = true;
  else {
    folder.unlisted = entryError(failure, folder.path);
    need(folder);
  }
}

function nextLook(walk: Walk, { anchor, parts }: Listed): Job {
  const some: Part[] = [];
  anchor.hold();
  for (let paths = 0; paths < PATHS_TOGETHER;) {
    const { done, value } = parts.next();
    if (done === true) {
      walk.listed.pop();
      anchor.release();
      break;
    }
    some.push(value);
    paths += value.seen.paths.length;
    value.parent.parts.push(value.seen.found);
  }
  return (signal) => look(walk, some, anchor, signal);
}

/** Looks at what is there; the folders among it are the next ones. The anchor is held already. */
async function look(walk: Walk, parts: readonly Part[], anchor: Anchor, signal: AbortSignal): Promise<void> {
  using _ = holding(anchor);
  const paths = parts.flatMap(({ seen }) => seen.paths).map((path) => fromAnchor(anchor, path));
  const answer = await walk.scanner.look({ root: anchor.location, paths }, signal);
  if (answer.kind === 'failed') return walk.onRootFailure(answer);
  const folders: Folder[] = [];
  let from = 0;
  for (const { parent, seen, before } of parts) {
    const end = from + seen.paths.length;
    if (answer.failures.size === 0) seen.stats = rowsOf(answer.stats, from, end);
    if (before !== undefined && isSameSeen(seen.stats, before.stats)) {
      for (const found of before.found) note(walk, parent, seen, madeAnew(found, parent), folders);
      seen.specials = before.specials;
    } else await classifyPart(walk, { parent, seen }, answer, from, folders, signal);
    walk.specials += seen.specials;
    from = end;
  }
  walk.onCount(walk.count);
  for (const folder of folders.toReversed()) {
    anchor.hold();
    walk.pending.push({ folder, anchor });
  }
}

/** What is noted of a folder is each walk's own. */
function madeAnew(found: Found, parent: Folder): Found {
  return 'parts' in found
    ? createFolder({ path: found.path, parent }, found.included, found.stats, found.unfit)
    : found;
}

async function classifyPart(
  walk: Walk,
  { parent, seen }: Omit<Part, 'before'>,
  { stats, targets, failures }: LookResult,
  from: number,
  folders: Folder[],
  signal: AbortSignal,
): Promise<void> {
  const noteAt = ([index, path]: readonly [number, string]) => {
    const [target, failure] = [targets.get(from + index), failures.get(from + index)];
    const found = classify(
      { path, parent, stats: unpack(stats, from + index), target, failure },
      walk.patterns,
    );
    if (found === 'special') seen.specials++;
    else if (found !== undefined) note(walk, parent, seen, found, folders);
  };
  await forEachInSlices(seen.paths.entries(), noteAt, signal, ENTRIES_TOGETHER);
}

function note(walk: Walk, parent: Folder, seen: SeenPart, found: Found, folders: Folder[]): void {
  walk.count++;
  seen.found.push(found);
  if (!('parts' in found)) return need(parent);
  if (found.included) need(found);
  folders.push(found);
  walk.devices.add(found.stats.dev);
}

function holding(anchor: Anchor): Disposable {
  return { [Symbol.dispose]: () => anchor.release() };
}
