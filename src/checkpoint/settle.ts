import { AssertionFailed } from '../base/assert.ts';
import { createGroup, forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { claimSet } from './claim.ts';
import { putWhole } from './commit-file.ts';
import type { CommitContext } from './commit-file.ts';
import { sameStat } from './file-stat.ts';
import { scanSet } from './scan.ts';
import type { Scan, ScannedFile } from './scan.ts';
import { likelyStored, sendFile } from './send-file.ts';
import type { SendMode } from './send-file.ts';
import { FILES_IN_FLIGHT } from './set-work.ts';
import type { SetWork, Versions } from './set-work.ts';
import { unstampedDevices } from './unstamped-devices.ts';

/** How often a file that changes while it is read is read before that is an error. */
const READS_MAX = 3;
/** How often all files are looked at again, since some changed after they were sent. */
const ROUNDS_MAX = 4;

/** Scans, and counts as stored what most likely is. */
export async function look(begun: SetWork, versions: Versions, signal: AbortSignal): Promise<Scan> {
  const scan = await scanSet(begun.set, begun.send.reader, signal).catch((error: unknown) => {
    if (isNothingToSave(error)) noteScan(begun, []);
    throw error;
  });
  begun.send.index.distrust(await unstampedDevices(begun.set.path, scan.files));
  noteScan(begun, scan.files);
  begun.activity.specials = scan.specials;
  for (const file of scan.files) {
    if (isCurrent(file, versions)) begun.tracker.store(file.path, file.stat.size);
    else if (likelyStored(begun.send, file)) begun.tracker.store(file.path, file.stat.size);
  }
  return scan;
}

function noteScan({ tracker, activity }: SetWork, files: readonly ScannedFile[]): void {
  tracker.scanned(files.map(({ path, stat }) => ({ path, size: stat.size })));
  activity.scans++;
}

/** The hooks may have the time of a set that can't be saved. */
function isNothingToSave(error: unknown): boolean {
  return error instanceof EvictdError && ['set-path-missing', 'restore-unfinished'].includes(error.code);
}

/**
 * Sends all files, then looks at them again until none has changed since it was sent:
 * what gets committed is what was on disk at that last look.
 * A workload that doesn't hold still must not prevent the checkpoint: then each file is taken as it was at one moment,
 * not all of them at the same one, and the files that went on changing are answered as `changing`.
 */
export async function settle(begun: SetWork, context: CommitContext, signal: AbortSignal) {
  const versions: Versions = new Map();
  let scan: Scan | undefined;
  const group = createGroup(signal);
  // Whole small files become visible as they are sent, so the claim has to be there before the first of them.
  group.run((inner) => claimSet(context, begun.stored, inner));
  group.run(async (inner) => {
    scan = await look(begun, versions, inner);
  });
  await group.settled();
  const mode: SendMode = {
    stop: () => false,
    readsMax: READS_MAX,
    changing: 'fail',
    put: (blob, id, body, inner) => putWhole(context, blob, [id], body, inner),
  };
  for (let round = 0; round < ROUNDS_MAX && scan !== undefined; round++) {
    await sendChanged(begun, scan, versions, mode, signal);
    scan = await look(begun, versions, signal);
    if (scan.files.every((file) => isCurrent(file, versions))) return { scan, versions, changing: [] };
  }
  if (scan === undefined) throw new AssertionFailed('a set was settled without having been looked at');
  const added = scan.files.filter(({ path }) => !versions.has(path));
  await sendChanged(begun, { ...scan, files: added }, versions, mode, signal);
  // What has no version even now is gone again; its other names may still be there.
  const orphans = scan.hardLinks.filter(({ target }) => !versions.has(target));
  await sendChanged(begun, { ...scan, files: orphans }, versions, mode, signal);
  const files = [...scan.files, ...orphans].filter(({ path }) => versions.has(path));
  const hardLinks = scan.hardLinks.filter((link) => !orphans.includes(link));
  const changing = files.filter((file) => !isCurrent(file, versions)).map(({ path }) => path);
  return { scan: { ...scan, files, hardLinks }, versions, changing };
}

export async function sendChanged(
  begun: SetWork,
  scan: Scan,
  versions: Versions,
  mode: SendMode,
  signal: AbortSignal,
): Promise<void> {
  await forEachLimit(scan.files, FILES_IN_FLIGHT, signal, async (file, inner) => {
    if (mode.stop() || isCurrent(file, versions)) return;
    const version = await sendFile(begun.send, file, mode, inner);
    if (version !== undefined) versions.set(file.path, version);
  });
}

export function isCurrent(file: ScannedFile, versions: Versions): boolean {
  const version = versions.get(file.path);
  return version !== undefined && sameStat(version.stat, file.stat);
}
