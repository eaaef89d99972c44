import { isUtf8 } from 'node:buffer';
import { readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

import { EvictdError, isErrno, messageOf } from '../base/errors.ts';
import { locationOf } from '../base/files/beneath.ts';
import { openToRead, openTrusted } from '../base/files/trusted.ts';
import type { Problem } from './problem.ts';

const FILE_BYTES_MAX = 1024 ** 2;
const FILES_MAX = 256;

export type FileRead =
  | { readonly kind: 'read'; readonly text: string }
  | { readonly kind: 'missing' }
  | { readonly kind: 'problem'; readonly problem: Problem };

/**
 * Reads a file that decides what runs as root: refused when anyone but root or our user could have written it, or could
 * have put another one in its place (see `openTrusted`), as cron and sudo do.
 */
export async function readConfigFile(file: string): Promise<FileRead> {
  try {
    await using trusted = await openTrusted(resolve(file));
    if (trusted.stats.isDirectory()) return refused(file, 'is a folder', 'a YAML file');
    if (!trusted.stats.isFile()) return refused(file, 'is not a regular file', 'a YAML file');
    await using handle = await openToRead(trusted);
    // One byte more than is allowed is enough to know.
    const stream = handle.createReadStream({ end: FILE_BYTES_MAX, autoClose: false });
    const content = Buffer.concat((await stream.toArray()) as Buffer[]);
    if (content.length > FILE_BYTES_MAX) return refused(file, 'larger than 1 MiB', 'at most 1 MiB');
    if (!isUtf8(content)) return refused(`${file}:${lineOfFault(content)}`, 'not UTF-8', 'text in UTF-8');
    return { kind: 'read', text: content.toString('utf8') };
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return { kind: 'missing' };
    return { kind: 'problem', problem: notOpened(file, error, 'a file') };
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

export interface ConfD {
  readonly files: readonly string[];
  /** Not read, because of its name. */
  readonly ignored: readonly string[];
  readonly problems: readonly Problem[];
}

const EMPTY: ConfD = { files: [], ignored: [], problems: [] };
const READ_NAME = /^[^.].*\.yaml$/;
/** Of the files that editors and version control leave: nobody expects those to be read. */
const HIDDEN_NAME = /^\.(?!.*\.ya?ml$)/;

/** The `*.yaml` files of the `conf.d` folder beside `file`, in name order; none when there is no such folder. */
export async function listConfD(file: string): Promise<ConfD> {
  const path = join(dirname(file), 'conf.d');
  try {
    await using folder = await openTrusted(resolve(path));
    // Sorted by code unit, so that the order doesn't depend on the locale.
    const names = (await readdir(locationOf(folder.handle.fd))).toSorted();
    const placed = (some: readonly string[]) => some.map((name) => join(path, name));
    const files = placed(names.filter((name) => READ_NAME.test(name)));
    const ignored = placed(names.filter((name) => !READ_NAME.test(name) && !HIDDEN_NAME.test(name)));
    if (files.length <= FILES_MAX) return { files, ignored, problems: [] };
    return { ...EMPTY, problems: [problem(path, `has ${files.length} files`, `at most ${FILES_MAX}`)] };
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return EMPTY;
    return { ...EMPTY, problems: [notOpened(path, error, 'a folder')] };
  }
}

function notOpened(path: string, error: unknown, what: string): Problem {
  if (error instanceof EvictdError) {
    const allowed = `${what} that only root and the user of evictd can change; run: ${error.remedy ?? ''}`;
    return problem(path, error.message.replace(`${path} `, ''), allowed);
  }
  return problem(path, `cannot be read: ${messageOf(error)}`, `${what} that evictd may read`);
}

function refused(file: string, message: string, allowed: string): FileRead {
  return { kind: 'problem', problem: problem(file, message, allowed) };
}

function problem(file: string, message: string, allowed: string): Problem {
  return { origin: file, key: undefined, message, allowed };
}
