import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';

import { isOwnPath } from '../../src/checkpoint/scan/own-names.ts';

export interface Comparison {
  readonly files: number;
  readonly bytes: number;
  /** Paths that are missing on one side or differ. */
  readonly differences: readonly string[];
}

/** Compares two folders file by file, byte by byte. */
export async function compareFolders(one: string, other: string): Promise<Comparison> {
  const [left, right] = await Promise.all([listFiles(one), listFiles(other)]);
  const differences: string[] = [];
  let bytes = 0;
  for (const file of new Set([...left, ...right])) {
    const digests = await Promise.all([one, other].map((folder) => digestOf(path.join(folder, file))));
    if (digests[0] === undefined || digests[0] !== digests[1]) differences.push(file);
    else bytes += (await lstat(path.join(one, file))).size;
  }
  return { files: left.length, bytes, differences };
}

async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return (
    entries
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
      // The mark that a restore leaves in a set's own folder is evictd's, not the worker's.
      .filter((file) => !isOwnPath(file))
      .toSorted()
  );
}

async function digestOf(file: string): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(file), hash);
  } catch {
    return undefined;
  }
  return hash.digest('hex');
}
