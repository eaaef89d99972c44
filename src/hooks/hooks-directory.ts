import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { EvictdError, errnoOf, isErrno } from '../base/errors.ts';
import { locationOf } from '../base/files/beneath.ts';
import { openTrusted } from '../base/files/trusted.ts';
import type { HookPolicy } from '../core/policy.ts';
import type { CommandHook } from './prepare.ts';

export interface HooksDirectory {
  /** In the order in which they run, one after the other. */
  readonly hooks: readonly (CommandHook & HookPolicy)[];
  readonly ignored: readonly { readonly name: string; readonly why: string }[];
}

// run-parts' own set: leaves out editors' backups, .dpkg-old and README.md.
const NAME = /^[A-Za-z0-9_-]+$/;
const HOOKS_MAX = 500;
// After the configured hooks that name no order (50), before those of 51.
const ORDER = 50;
const ORDER_STEP = 1 / 1024;
const TIMEOUT_MS = 10_000;

/**
 * The executables of a folder as hooks, as run-parts (man 8 run-parts) takes them: by name, in the order of names,
 * symbolic links followed. A folder that doesn't exist is empty.
 * The files' owners and modes are checked by the runner before each start; the folder's are checked here.
 * Rejects with `hooks-directory`.
 */
export async function listHooksDirectory(folder: string): Promise<HooksDirectory> {
  const path = resolve(folder);
  const names = await readNames(path);
  const hooks: (CommandHook & HookPolicy)[] = [];
  const ignored: { name: string; why: string }[] = [];
  // The default sort compares code units, which is run-parts' C locale for these names.
  for (const name of names.sort()) {
    const why = hooks.length < HOOKS_MAX ? await whyNot(path, name) : `only ${HOOKS_MAX} hooks are taken`;
    if (why === undefined) hooks.push(describeHook(path, name, hooks.length));
    else ignored.push({ name, why });
  }
  return { hooks, ignored };
}

/** What a configured hook that says nothing else is, but in an order of its own. */
function describeHook(folder: string, name: string, index: number): CommandHook & HookPolicy {
  return {
    name: `hooks.d/${name}`,
    run: [join(folder, name)],
    on: undefined,
    stage: 'before-checkpoint',
    order: ORDER + (index + 1) * ORDER_STEP,
    timeoutMs: TIMEOUT_MS,
    required: true,
  };
}

async function readNames(path: string): Promise<string[]> {
  try {
    await using folder = await openTrusted(path);
    if (!folder.stats.isDirectory()) throw insecure(`${path} is not a folder`, 'correct "hooksDir"');
    return await readdir(locationOf(folder.handle.fd));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    if (error instanceof EvictdError) throw insecure(error.message, error.remedy);
    throw new EvictdError('hooks-directory', `${path} can't be read (${errnoOf(error) ?? 'unknown error'})`, {
      cause: error,
    });
  }
}

function insecure(message: string, remedy: string | undefined): EvictdError {
  return new EvictdError('hooks-directory', message, { remedy });
}

async function whyNot(folder: string, name: string): Promise<string | undefined> {
  if (!NAME.test(name)) return 'its name has characters other than A-Z a-z 0-9 _ -';
  const path = join(folder, name);
  try {
    const stats = await stat(path);
    if (!stats.isFile()) return stats.isDirectory() ? 'it is a folder' : 'it is not a regular file';
    await access(path, constants.X_OK);
    return undefined;
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM')) return `it is not executable (chmod +x ${path})`;
    if (isErrno(error, 'ENOENT', 'ELOOP', 'ENOTDIR')) return 'it is a symbolic link to nothing';
    throw new EvictdError(
      'hooks-directory',
      `${path} can't be looked at (${errnoOf(error) ?? 'unknown error'})`,
      {
        cause: error,
      },
    );
  }
}
