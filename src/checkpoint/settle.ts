import { AssertionFailed } from '../base/assert.ts';
import { createGroup, forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { SMALL_BYTES_MAX } from './block-size.ts';
import { claimSet } from './claim.ts';
import { snapshotEarly } from './commit-file.ts';
import { sameStat } from './file-stat.ts';
import type { CommitContext } from './own-write.ts';
import { scanSet } from './scan.ts';
import type { Scan, ScannedFile } from './scan.ts';
import { knownVersion, lastVersion, likelyStored, sendFile } from './send-file.ts';
import type { SendMode } from './send-file.ts';
import { groupSmall, sendTogether, TOGETHER_MAX } from './send-together.ts';
import { diskMissing, isNothingToSave } from './set-folder.ts';
import { FILES_IN_FLIGHT } from './set-work.ts';
import type { SetWork, Versions } from './set-work.ts';
import { unstampedDevices } from './unstamped-devices.ts';
import { putTogether, putWhole } from './whole-write.ts';

/** How often a file that changes while it is read is read before that is an error. */
const READS_MAX = 3;
/** How often all files are looked at again, since some changed after they were sent. */
const ROUNDS_MAX = 4;
/** As many files as go one by one. */
const GROUPS_IN_FLIGHT = FILES_IN_FLIGHT / TOGETHER_MAX;

export interface Look {
  readonly scan: Scan;
  /** Files of it without a version. */
  readonly due: readonly ScannedFile[];
}

/** Scans, adds the versions of files that needn't be read, and counts as stored what most likely is. */
export async function look(begun: SetWork, versions: Versions, signal: AbortSignal): Promise<Look> {
  const { send, tracker, activity } = begun;
  const tally = tracker.count();
  const scan = await scanMounted(begun, signal).catch((error: unknown) => {
    if (isNothingToSave(error)) {
      tally.done();
      activity.scans++;
    }
    throw error;
  });
  send.index.distrust(await unstampedDevices(begun.folder.location, scan.files));
  const due: ScannedFile[] = [];
  const count = (file: ScannedFile) => {
    const { path, stat } = file;
    if (isCurrent(file, versions)) return tally.add(path, stat.size, true);
    const known = knownVersion(send, file);
    if (known === undefined) due.push(file);
    else versions.set(path, known);
    return tally.add(path, stat.size, known !== undefined || likelyStored(send, file));
  };
  await forEachInSlices(scan.files, count, signal);
  tally.done();
  activity.scans++;
  activity.specials = scan.specials;
  return { scan, due };
}

async function scanMounted({ set, folder, send }: SetWork, signal: AbortSignal): Promise<Scan> {
  const scan = await scanSet(set, folder, send.reader, signal);
  if (scan.files.length === 0 && send.index.isOfOthers(scan.devices)) throw diskMissing(set);
  return scan;
}

/** What keeps a single file from being saved. */
const OF_ONE_FILE = new Set(['file-changing', 'file-unreadable']);

/** By path: why a file isn't in a checkpoint as it is now. */
export type Lost = ReadonlyMap<string, EvictdError>;

export interface Settled {
  /** Lost files are in it as they were, or not at all. */
  readonly scan: Scan;
  readonly versions: Versions;
  /** Files and folders that went on changing: each is taken as it was at a moment of its own. */
  readonly changing: readonly string[];
  readonly lost: Lost;
}

/**
 * Sends what is new, then looks at all files again until a look finds none that has changed since its version was
 * taken: what gets committed is what was on disk when that look began. The first look may be that one already, since
 * what the index knows was read before it.
 * A workload that doesn't hold still must not prevent the checkpoint: then each file is taken as it was at one moment,
 * not all of them at the same one, and what went on changing is answered as `changing`.
 * Of a file that can't be had at any moment the last version is taken that could be read, or none where there never was
 * one. It is answered as `lost`. Where it `isUrgent`, small files have their snapshots while others are still sent.
 */
export async function settle(
  begun: SetWork,
  context: CommitContext,
  { isUrgent }: { readonly isUrgent: boolean },
  signal: AbortSignal,
): Promise<Settled> {
  const put: SendMode['put'] = async (blob, id, body, inner) => {
    // A file that is written to before the checkpoint is complete leaves this one behind until its blob is removed:
    // that adds up where it is done again and again. And what needs much memory doesn't hold it for that long.
    const withSnapshot = isUrgent && body.byteLength <= SMALL_BYTES_MAX;
    await putWhole(context, blob, { blocks: [id], withSnapshot }, body, inner);
    if (withSnapshot && blob.snapshot === undefined) await snapshotEarly(context, blob, inner);
  };
  const putSmall: SendMode['putTogether'] = (writes, inner) =>
    putTogether(context, writes, { withSnapshot: isUrgent }, inner);
  const mode: SendMode = {
    stop: () => false,
    readsMax: READS_MAX,
    changing: 'fail',
    put,
    ...(context.store.putTogether !== undefined && { putTogether: putSmall }),
  };
  const versions: Versions = new Map();
  const first = await claimAndLook(begun, context, versions, signal);
  const lost = new Map<string, EvictdError>();
  const send = async (files: readonly ScannedFile[]) => {
    const onLost = (path: string, error: EvictdError) => void lost.set(path, error);
    await sendFiles(begun, files, versions, { mode, onLost }, signal);
  };
  let { scan, due } = first;
  // What moved during a look may be missing in it. A folder whose names change all the time is a reason for one more
  // look, not for all of them.
  let looksForMoved = 1;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const open = due.filter(({ path }) => !lost.has(path));
    if (open.length === 0 && !(scan.foldersChanged.length > 0 && looksForMoved-- > 0)) break;
    await send(open);
    ({ scan, due } = await look(begun, versions, signal));
  }
  if (due.length === 0) return { scan, versions, changing: scan.foldersChanged, lost: new Map() };
  const isLeft = (path: string) => !versions.has(path) && !lost.has(path);
  await send(due.filter(({ path }) => isLeft(path)));
  // What has no version even now is gone again; its other names may still be there.
  const orphans = scan.hardLinks.filter(({ target }) => isLeft(target));
  await send(orphans);
  const lostNow = withLastVersions(begun, [...due, ...orphans], versions, lost);
  const files: ScannedFile[] = [];
  for (const file of [...scan.files, ...orphans]) {
    const version = versions.get(file.path);
    if (version !== undefined) files.push(lostNow.has(file.path) ? { ...file, stat: version.stat } : file);
  }
  const hardLinks = scan.hardLinks.filter(({ target }) => versions.has(target));
  const written = files.filter((file) => !isCurrent(file, versions)).map(({ path }) => path);
  const changing = [...written, ...scan.foldersChanged];
  return { scan: { ...scan, files, hardLinks }, versions, changing, lost: lostNow };
}

async function claimAndLook(
  begun: SetWork,
  context: CommitContext,
  versions: Versions,
  signal: AbortSignal,
): Promise<Look> {
  let first: Look | undefined;
  const group = createGroup(signal);
  // Whole small files become visible as they are sent, so the claim has to be there before the first of them.
  group.run((inner) => claimSet(context, begun.stored, inner));
  group.run(async (inner) => {
    first = await look(begun, versions, inner);
  });
  await group.settled();
  if (first === undefined) throw new AssertionFailed('a set was settled without having been looked at');
  return first;
}

/**
 * Gives lost files the version that was read last, and answers which of `files` are lost.
 * Throws where the checkpoint before has a version of a file that this one would be without.
 */
function withLastVersions(
  { send }: SetWork,
  files: readonly ScannedFile[],
  versions: Versions,
  lost: Lost,
): Lost {
  const found = new Map<string, EvictdError>();
  for (const { path } of files) {
    const error = lost.get(path);
    if (error === undefined) continue;
    const version = versions.get(path) ?? lastVersion(send, path);
    if (version !== undefined) versions.set(path, version);
    else if (send.blobOf(path).etag !== undefined) throw error;
    found.set(path, error);
  }
  return found;
}

export interface Sending {
  readonly mode: SendMode;
  /** Without, such a file fails all. */
  readonly onLost?: (path: string, error: EvictdError) => void;
}

export async function sendFiles(
  begun: SetWork,
  files: readonly ScannedFile[],
  versions: Versions,
  { mode, onLost }: Sending,
  signal: AbortSignal,
): Promise<void> {
  const one = async (file: ScannedFile, inner: AbortSignal) => {
    if (mode.stop()) return;
    try {
      const version = await sendFile(begun.send, file, mode, inner);
      if (version !== undefined) versions.set(file.path, version);
    } catch (error) {
      const isLost = error instanceof EvictdError && OF_ONE_FILE.has(error.code);
      if (!isLost || onLost === undefined) throw error;
      onLost(file.path, error);
    }
  };
  const { putTogether: put } = mode;
  if (put === undefined) return forEachLimit(files, FILES_IN_FLIGHT, signal, one);
  const { groups, others } = groupSmall(begun.send, files);
  const together = async (small: readonly ScannedFile[], inner: AbortSignal) => {
    if (mode.stop()) return;
    const sent = await sendTogether(begun.send, small, put, inner);
    for (const [path, version] of sent) versions.set(path, version);
    const left = small.filter(({ path }) => !sent.has(path));
    await forEachLimit(left, TOGETHER_MAX, inner, one);
  };
  const all = createGroup(signal);
  all.run((inner) => forEachLimit(groups, GROUPS_IN_FLIGHT, inner, together));
  all.run((inner) => forEachLimit(others, FILES_IN_FLIGHT, inner, one));
  return all.settled();
}

function isCurrent(file: ScannedFile, versions: Versions): boolean {
  const version = versions.get(file.path);
  return version !== undefined && sameStat(version.stat, file.stat);
}
