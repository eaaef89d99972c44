import { createHash } from 'node:crypto';

import { sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import type { Scan } from './scan.ts';

/** So many entries take a few milliseconds; then others get their turn. */
const ENTRIES_AT_ONCE = 5000;

/** Equal for two scans between which nothing was changed, as far as the attributes of files and folders tell. */
export async function scanDigest(scan: Scan, clock: Clock, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  let text = '';
  let count = 0;
  for (const line of linesOf(scan)) {
    text += `${line}\0`;
    if (++count % ENTRIES_AT_ONCE !== 0) continue;
    hash.update(text);
    text = '';
    await sleep(clock, 0, signal);
  }
  return hash.update(text).digest('base64');
}

function* linesOf({ files, hardLinks, directories, symlinks }: Scan): Iterable<string> {
  for (const { path, mode, uid, gid, stat } of files) {
    const { size, mtimeNs, ctimeNs, ino, dev } = stat;
    yield `file ${mode} ${uid} ${gid} ${size} ${mtimeNs} ${ctimeNs} ${ino} ${dev} ${path}`;
  }
  for (const { path, target } of hardLinks) yield `hard link ${path}\0${target}`;
  for (const { path, mode, uid, gid, mtimeNs } of directories) {
    yield `directory ${mode} ${uid} ${gid} ${mtimeNs} ${path}`;
  }
  for (const { path, uid, gid, target } of symlinks) yield `link ${uid} ${gid} ${path}\0${target}`;
}
