import { isStored } from './chunk.ts';
import type { FileChunk } from './chunk.ts';
import type { Attributes, Entry } from './entry.ts';
import { bytesProblem, pathProblem } from '../../base/files/path-name.ts';
import { comparePaths } from './path-order.ts';
import { CHUNKS_MAX } from './tree/tree-entry.ts';

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const MODE_MAX = 0o7777;
/** The one after it is what chown(2) takes for "leave as it is". */
const OWNER_MAX = 2 ** 32 - 2;

/**
 * Why `entry` can't be in a checkpoint, or undefined when it can. It is what writers ask before they put an entry in and
 * readers before they believe one, so that no writer makes what its reader refuses. Says nothing about other entries.
 */
export function entryProblem(entry: Entry): string | undefined {
  const problem = pathProblem(entry.path);
  if (problem !== undefined) return `its path ${problem}`;
  switch (entry.type) {
    case 'file':
      return attributesProblem(entry) ?? contentProblem(entry.size, entry.chunks);
    case 'directory':
      return attributesProblem(entry);
    case 'symlink':
      return attributesProblem(entry) ?? targetProblem(entry.target);
    case 'hardlink':
      return hardLinkProblem(entry.path, entry.target);
  }
}

/** Of a file or folder or symbolic link. */
function attributesProblem({ mode, uid, gid, mtimeNs }: Attributes): string | undefined {
  if (!isBelow(mode, MODE_MAX)) return `its mode is ${mode}`;
  if (!isBelow(uid, OWNER_MAX)) return `its owner is ${uid}`;
  if (!isBelow(gid, OWNER_MAX)) return `its group is ${gid}`;
  if (mtimeNs < INT64_MIN || mtimeNs > INT64_MAX) return `its time is ${mtimeNs} ns`;
  return undefined;
}

/** The chunks of a file must make up its size. */
function contentProblem(size: number, chunks: readonly FileChunk[]): string | undefined {
  if (!isBelow(size, Number.MAX_SAFE_INTEGER)) return `its size is ${size}`;
  if (chunks.length > CHUNKS_MAX) return `it has more than ${CHUNKS_MAX} chunks`;
  let sum = 0;
  for (const chunk of chunks) {
    if (!(chunk.plain > 0)) return `it has a chunk of ${chunk.plain} bytes`;
    if (isStored(chunk) && !(chunk.stored > 0 && chunk.stored <= chunk.plain)) {
      return `it has a chunk of ${chunk.plain} bytes that is stored as ${chunk.stored}`;
    }
    sum += chunk.plain;
  }
  return sum === size ? undefined : `its size is ${size}, its chunks have ${sum} bytes`;
}

function targetProblem(target: string): string | undefined {
  if (target === '') return 'its target is empty';
  const problem = bytesProblem(target);
  return problem === undefined ? undefined : `its target ${problem}`;
}

function hardLinkProblem(path: string, target: string): string | undefined {
  const problem = pathProblem(target);
  if (problem !== undefined) return `the file that it is another name of has a path that ${problem}`;
  return comparePaths(target, path) < 0 ? undefined : 'the file that it is another name of comes after it';
}

function isBelow(value: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= max;
}
