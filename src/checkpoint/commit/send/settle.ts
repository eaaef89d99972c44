import type { EvictdError } from '../../../base/errors.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { comparePaths } from '../../format/path-order.ts';
import type { Scan } from '../../scan/scan.ts';
import type { ScannedFile } from '../../scan/scanned.ts';
import { isCurrent, look } from '../look/look.ts';
import type { Had } from '../write/partial.ts';
import { lastVersion, readFiles } from './read-files.ts';
import type { SetWork, Versions } from '../set-work.ts';
import type { Upload } from './upload.ts';

/** How often a file that changes while it is read is read before that is an error. */
const READS_MAX = 4;
/** How often all files are looked at again, since some changed after they were sent. */
const ROUNDS_MAX = 4;

export interface SettleOptions {
  /** Between the guest's two clocks when this process began. */
  readonly wallOffsetMs: number;
  /** Hears of each look; what is had of it is added while it is sent. */
  readonly onLook: ((had: Had) => void) | undefined;
}

export interface Settled {
  readonly scan: Scan;
  /** What its files hold; of lost ones what was read last, or nothing. */
  readonly versions: Versions;
  /** Entries that went on changing: each is taken as it was at a moment of its own. */
  readonly changing: readonly string[];
  /** Folders whose names changed during the last look, more than one: what moved between them may be in neither. */
  readonly moving: readonly string[];
  /** By path: why an entry isn't had as it is now. */
  readonly lost: ReadonlyMap<string, EvictdError>;
}

/**
 * Sends what is new, then looks at all files again until a look finds none that has changed since its version was taken:
 * what gets committed is what was on disk when that look began. The first look may be that one already, since what the
 * index knows was read before it.
 * A workload that doesn't hold still must not prevent the checkpoint: then each file is taken as it was at one moment,
 * not all of them at the same one, and what went on changing is answered as `changing`. What can't be had at any moment
 * is answered as `lost`.
 */
export async function settle(
  work: SetWork,
  upload: Upload,
  { wallOffsetMs, onLook }: SettleOptions,
  signal: AbortSignal,
): Promise<Settled> {
  const versions: Versions = new Map();
  const lost = new Map<string, EvictdError>();
  const onLost = (path: string, error: EvictdError) => void lost.set(path, error);
  /** As files were known before they were read: what of a reading fails takes the place of that. */
  const former: Versions = new Map();
  const keepLast = ({ path }: ScannedFile) => {
    const version = lastVersion(work, path);
    if (version !== undefined && !former.has(path)) former.set(path, version);
  };
  const send = async (files: readonly ScannedFile[]) => {
    await forEachInSlices(files, keepLast, signal);
    await readFiles(work, upload, files, versions, { readsMax: READS_MAX, onLost, wallOffsetMs }, signal);
  };
  let { scan, due } = await look(work, versions, signal);
  onLook?.({ scan, versions, lost });
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const open = due.filter(({ path }) => !lost.has(path));
    // What moved between folders during a look may be missing in it. One folder whose names change all the time is a
    // reason for one more look, not for all of them.
    const looksForMoved = scan.foldersChanged.length > 1 ? ROUNDS_MAX : scan.foldersChanged.length;
    if (open.length === 0 && round >= looksForMoved) break;
    await send(open);
    ({ scan, due } = await look(work, versions, signal, scan));
    onLook?.({ scan, versions, lost });
  }
  // What has no version by now is gone again; its other names may still be there.
  const isLeft = (path: string) => !versions.has(path) && !lost.has(path);
  await send(due.filter(({ path }) => isLeft(path)));
  const orphans = scan.hardLinks.filter(({ target }) => isLeft(target));
  await send(orphans);
  const open = new Set([...due, ...orphans].map(({ path }) => path));
  for (const path of open) {
    if (!lost.has(path)) continue;
    const version = versions.get(path) ?? former.get(path);
    if (version !== undefined) versions.set(path, version);
  }
  const linked = scan.hardLinks.flatMap(({ path, target }) => {
    const error = versions.has(target) ? undefined : lost.get(target);
    return error === undefined ? [] : [[path, error] as const];
  });
  const files: ScannedFile[] = [];
  const written: string[] = [];
  const take = (file: ScannedFile) => {
    if (!versions.has(file.path)) return;
    files.push(file);
    if (!isCurrent(file, versions) && !lost.has(file.path)) written.push(file.path);
  };
  await forEachInSlices(inOrder(scan.files, orphans), take, signal);
  const hardLinks = scan.hardLinks.filter(({ target }) => versions.has(target));
  return {
    // Nobody looks once more.
    scan: { ...scan, files, hardLinks, seen: new Map() },
    versions,
    changing: [...written, ...scan.foldersChanged],
    moving: scan.foldersChanged.length > 1 ? scan.foldersChanged : [],
    lost: new Map([...scan.lost, ...[...lost].filter(([path]) => open.has(path)), ...linked]),
  };
}

/** Two lists that are in the order of paths, as one. */
function inOrder(files: readonly ScannedFile[], more: readonly ScannedFile[]): readonly ScannedFile[] {
  if (more.length === 0) return files;
  return [...files, ...more].toSorted((one, other) => comparePaths(one.path, other.path));
}
