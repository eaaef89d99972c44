import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';

import { isErrno, messageOf } from '../base/errors.ts';
import type { Problem } from './problem.ts';

const FILE_BYTES_MAX = 1024 ** 2;
const FILES_MAX = 256;

export type FileRead =
  | { readonly kind: 'read'; readonly text: string }
  | { readonly kind: 'missing' }
  | { readonly kind: 'problem'; readonly problem: Problem };

/**
 * Reads a file that decides what runs as root: refused when anyone but its owner or root could have written it,
 * as cron and sudo do. Opened once, so that what is checked is what is read.
 */
export function readConfigFile(file: string): FileRead {
  let descriptor: number;
  try {
    // Without O_NONBLOCK the open of a pipe would wait for a writer.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return { kind: 'missing' };
    return refused(file, `cannot be opened: ${messageOf(error)}`, 'a file that evictd may read');
  }
  try {
    const stats = fstatSync(descriptor);
    if (stats.isDirectory()) return refused(file, 'is a folder', 'a YAML file');
    if (!stats.isFile()) return refused(file, 'is not a regular file', 'a YAML file');
    const fault = ownershipFault(file, stats);
    if (fault !== undefined) return { kind: 'problem', problem: fault };
    const bytes = Buffer.alloc(FILE_BYTES_MAX + 1);
    let length = 0;
    for (let count = -1; count !== 0 && length < bytes.length; length += count) {
      count = readSync(descriptor, bytes, length, bytes.length - length, null);
    }
    if (length > FILE_BYTES_MAX) return refused(file, 'larger than 1 MiB', 'at most 1 MiB');
    const content = bytes.subarray(0, length);
    if (!isUtf8(content)) return refused(`${file}:${lineOfFault(content)}`, 'not UTF-8', 'text in UTF-8');
    return { kind: 'read', text: content.toString('utf8') };
  } catch (error) {
    return refused(file, `cannot be read: ${messageOf(error)}`, 'a file that evictd may read');
  } finally {
    closeSync(descriptor);
  }
}

/** The first that isn't UTF-8, from 1. */
function lineOfFault(content: Buffer): number {
  let line = 1;
  for (let start = 0; start < content.length; line++) {
    const end = content.indexOf(0x0a, start);
    const next = end === -1 ? content.length : end + 1;
    if (!isUtf8(content.subarray(start, next))) break;
    start = next;
  }
  return line;
}

/** The `*.yaml` files of the `conf.d` folder beside `file`, in name order; none when there is no such folder. */
export function listConfD(file: string): {
  readonly files: readonly string[];
  readonly problems: readonly Problem[];
} {
  const folder = join(dirname(file), 'conf.d');
  let descriptor: number;
  try {
    descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return { files: [], problems: [] };
    return {
      files: [],
      problems: [problem(folder, `cannot be opened: ${messageOf(error)}`, 'a folder that evictd may read')],
    };
  }
  try {
    const fault = ownershipFault(folder, fstatSync(descriptor));
    if (fault !== undefined) return { files: [], problems: [fault] };
    const names = readdirSync(folder).filter((name) => name.endsWith('.yaml') && !name.startsWith('.'));
    if (names.length > FILES_MAX) {
      return { files: [], problems: [problem(folder, `has ${names.length} files`, `at most ${FILES_MAX}`)] };
    }
    // By code unit, so that the order doesn't depend on the locale.
    return { files: names.toSorted().map((name) => join(folder, name)), problems: [] };
  } catch (error) {
    return {
      files: [],
      problems: [problem(folder, `cannot be read: ${messageOf(error)}`, 'a folder that evictd may read')],
    };
  } finally {
    closeSync(descriptor);
  }
}

function ownershipFault(path: string, stats: Stats): Problem | undefined {
  const mode = `0${(stats.mode & 0o7777).toString(8)}`;
  if ((stats.mode & 0o022) !== 0) {
    return problem(
      path,
      `writable by group or others (mode ${mode}), so that anybody there decides what evictd runs`,
      `writable by its owner only; run: chmod go-w ${path}`,
    );
  }
  const uid = process.getuid?.();
  if (stats.uid !== 0 && stats.uid !== uid) {
    return problem(
      path,
      `owned by user id ${stats.uid}`,
      `owned by root or the user that runs evictd (id ${uid}); run: chown root ${path}`,
    );
  }
  return undefined;
}

function refused(file: string, message: string, allowed: string): FileRead {
  return { kind: 'problem', problem: problem(file, message, allowed) };
}

function problem(file: string, message: string, allowed: string): Problem {
  return { origin: file, key: undefined, message, allowed };
}
