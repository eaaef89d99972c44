import { createHash } from 'node:crypto';

import { forEachInSlices } from '../../base/slices.ts';
import type { Scan } from './scan.ts';

/** Equal for two scans between which nothing was changed, as far as the attributes of files and folders tell. */
export async function scanDigest(scan: Scan, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await forEachInSlices(linesOf(scan), (line) => void hash.update(`${line}\0`), signal);
  return hash.digest('base64');
}

function* linesOf({ root, files, hardLinks, directories, symlinks, lost }: Scan): Generator<string> {
  yield `set ${root.mode} ${root.uid} ${root.gid}`;
  for (const { path, mode, uid, gid, stat } of files) {
    const { size, mtimeNs, ctimeNs, ino, dev } = stat;
    yield `file ${mode} ${uid} ${gid} ${size} ${mtimeNs} ${ctimeNs} ${ino} ${dev} ${path}`;
  }
  for (const { path, target } of hardLinks) yield `hard link ${path}\0${target}`;
  for (const { path, mode, uid, gid, mtimeNs } of directories) {
    yield `directory ${mode} ${uid} ${gid} ${mtimeNs} ${path}`;
  }
  for (const { path, uid, gid, mtimeNs, target } of symlinks) {
    yield `link ${uid} ${gid} ${mtimeNs} ${path}\0${target}`;
  }
  for (const [path, { code }] of lost) yield `lost ${code} ${path}`;
}
