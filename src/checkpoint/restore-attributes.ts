import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

export interface FileAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: string;
}

/**
 * Gives an open file or folder the owner (only root can), the mode and the time that a manifest says.
 * What is right already is left alone, since a change would make it look changed to the next checkpoint.
 */
export async function dress(handle: FileHandle, wanted: FileAttributes): Promise<void> {
  const { ownerDiffers, modeDiffers, timeDiffers, atimeSeconds } = compare(
    await handle.stat({ bigint: true }),
    wanted,
  );
  if (ownerDiffers) await handle.chown(wanted.uid, wanted.gid);
  // After the owner, since a change of owner takes set-user-id away; without the right owner it must not be set.
  if (ownerDiffers || modeDiffers) await handle.chmod(allowedMode(wanted.mode));
  if (timeDiffers) {
    // Node takes seconds as a double, good to a quarter of a microsecond, and cuts it down: aim for the middle of one.
    await handle.utimes(atimeSeconds, (Number(BigInt(wanted.mtimeNs) / 1000n) + 0.5) / 1e6);
  }
}

/** A restored time is good to less than a microsecond; see above. */
export function isSameTime(actualNs: bigint, wantedNs: string): boolean {
  const difference = actualNs - BigInt(wantedNs);
  return difference > -2000n && difference < 2000n;
}

function compare(stats: BigIntStats, wanted: FileAttributes) {
  return {
    ownerDiffers: isRoot() && (Number(stats.uid) !== wanted.uid || Number(stats.gid) !== wanted.gid),
    modeDiffers: (Number(stats.mode) & 0o7777) !== allowedMode(wanted.mode),
    timeDiffers: !isSameTime(stats.mtimeNs, wanted.mtimeNs),
    atimeSeconds: Number(stats.atimeNs / 1000n) / 1e6,
  };
}

function allowedMode(mode: number): number {
  return isRoot() ? mode : mode & 0o1777;
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}
