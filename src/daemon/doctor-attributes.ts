import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { formatCount } from '../base/units.ts';
import { isErrno } from '../base/errors.ts';
import { type Found, warn } from './doctor-finding.ts';

/** Of a large set, what comes first has to do: most have none at all, and where there are some they are on many. */
const ENTRIES_MAX = 10_000;
const NAMES_BYTES = 64 * 1024;
/** Set by the system on every file, and set anew by it. */
const LABELS: ReadonlySet<string> = new Set(['security.selinux', 'security.ima', 'security.evm']);

/**
 * Counts entries of a set's folder with what checkpoints don't keep: extended attributes, ACLs and capabilities. Nothing
 * where Node has no `node:ffi` (before 26.1) or the C library is another one.
 */
export async function checkAttributes(set: string, path: string, signal: AbortSignal): Promise<Found[]> {
  using reader = openReader();
  if (reader === undefined) return [];
  let looked = 0;
  let count = 0;
  const names = new Set<string>();
  for (const folders = [path]; folders.length > 0 && looked < ENTRIES_MAX;) {
    const folder = folders.pop() ?? path;
    for (const entry of await entriesOf(folder)) {
      if (++looked > ENTRIES_MAX) break;
      const place = join(folder, entry.name);
      if (entry.isDirectory()) folders.push(place);
      const found = reader.namesOf(place).filter((name) => !LABELS.has(name));
      if (found.length > 0) count++;
      for (const name of found) names.add(name);
    }
    signal.throwIfAborted();
  }
  if (count === 0) return [];
  const [first = '', ...more] = [...names].toSorted();
  const which = `${first}${more.length === 0 ? '' : ` and ${formatCount(more.length, 'other')}`}`;
  const among = looked > ENTRIES_MAX ? ` of the first ${ENTRIES_MAX} entries` : '';
  return [
    warn(
      `set ${set}: ${formatCount(count, 'name')}${among} in ${path} with ${which}: checkpoints keep no extended ` +
        'attributes, ACLs and capabilities',
      'set them again after a restore, where the workload needs them',
    ),
  ];
}

async function entriesOf(folder: string) {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    // What can't be read a commit tells.
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return [];
    throw error;
  }
}

interface Reader extends Disposable {
  /** Of the extended attributes; ACLs and capabilities are some. */
  namesOf(path: string): readonly string[];
}

function openReader(): Reader | undefined {
  try {
    const ffi = process.getBuiltinModule('node:ffi');
    const opened = ffi.dlopen(null, {
      llistxattr: { arguments: ['pointer', 'pointer', 'uint64'], return: 'int64' },
    });
    const buffer = Buffer.alloc(NAMES_BYTES);
    return {
      namesOf(path) {
        const bytes = Number(opened.functions.llistxattr(path, buffer, BigInt(NAMES_BYTES)));
        return bytes <= 0 ? [] : buffer.toString('utf8', 0, bytes).split('\0').slice(0, -1);
      },
      [Symbol.dispose]: () => opened[Symbol.dispose](),
    };
  } catch {
    return undefined;
  }
}
