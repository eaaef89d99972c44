import { lstat, readFile, statfs } from 'node:fs/promises';

import { fsPath, splitPath } from '../../base/files/path-name.ts';
import type { ScannedFile } from './scanned.ts';

/** OVERLAYFS_SUPER_MAGIC of linux/magic.h. */
const OVERLAY = 0x794c7630;

/**
 * File systems of disks that stamp a file at the first write to each of its mapped pages that writeback has cleaned, by
 * file_update_time of the kernel in their page_mkwrite. Numbers: linux/magic.h and statfs(2).
 */
const STAMPED: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // btrfs
  0xf2f52010, // F2FS
  0xca451a4e, // bcachefs
  0x3434, // NILFS
  0x3153464a, // JFS
]);

/** The first one may be gone by now. */
const SAMPLES_MAX = 3;

/**
 * Devices (`st_dev`) among `files` on which a write through a shared mapping may leave no new time, so that unchanged
 * times don't say that a file wasn't written to. Never rejects: what can't be asked, or isn't known, counts as one.
 *
 * - tmpfs, ramfs, hugetlbfs: their pages live in memory only and are never cleaned, so no write to them is noticed.
 * - overlay: what is written goes to its upper layer, and that one's file system decides. Of another mount namespace's
 *   (as a container sees its own root) the layer isn't to be found here.
 * - ZFS stamps when pages are written back, which may be half a minute later.
 * - NFS, CIFS, 9p and FUSE: the server stamps, when it gets what was written, and what is known here of its times may be
 *   a minute old; some FUSE file systems (of object stores) have no times of their own at all.
 */
export async function unstampedDevices(
  root: string,
  files: readonly ScannedFile[],
): Promise<ReadonlySet<bigint>> {
  const samples = new Map<bigint, string[]>();
  for (const { path, stat } of files) {
    const paths = samples.get(stat.dev);
    if (paths === undefined) samples.set(stat.dev, [path]);
    else if (paths.length < SAMPLES_MAX) paths.push(path);
  }
  const unstamped = new Set<bigint>();
  for (const [device, paths] of samples) {
    if (!(await isStamped(root, paths))) unstamped.add(device);
  }
  return unstamped;
}

async function isStamped(root: string, paths: readonly string[]): Promise<boolean> {
  for (const path of paths) {
    try {
      const { type } = await statfs(fsPath(root, path));
      return STAMPED.has(type === OVERLAY ? await typeOfUpper(fsPath(root, splitPath(path).folder)) : type);
    } catch {
      // Reading files once more is the safe side; whatever is wrong with this one shows then.
    }
  }
  return false;
}

/** The type of the file system that an overlay's upper layer is on; -1: nobody knows. Rejects with the system's error. */
async function typeOfUpper(folder: string | Buffer): Promise<number> {
  // A file may have the device of a layer; folders have that of the overlay itself.
  const { dev } = await lstat(folder, { bigint: true });
  const upper = upperOf(await readFile('/proc/self/mountinfo', 'latin1'), dev);
  return upper === undefined ? -1 : (await statfs(upper)).type;
}

/**
 * Where the overlay with this `st_dev` has its upper layer, by the text of /proc/self/mountinfo, one character per byte.
 * Source: proc_pid_mountinfo(5); in options of overlayfs, a backslash is before a comma or a colon of a path.
 */
export function upperOf(mountinfo: string, dev: bigint): Buffer | undefined {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  for (const line of mountinfo.split('\n')) {
    const [mount = '', source = ''] = line.split(' - ');
    const [type, , options = ''] = source.split(' ');
    if (type !== 'overlay' || mount.split(' ')[2] !== `${major}:${minor}`) continue;
    const plain = options.replace(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    const upper = /(?:^|,)upperdir=(\/(?:\\.|[^,\\])*)/s.exec(plain)?.[1];
    return upper === undefined ? undefined : Buffer.from(upper.replace(/\\(.)/gs, '$1'), 'latin1');
  }
  return undefined;
}
