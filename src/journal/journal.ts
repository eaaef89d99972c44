import { open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';

import { replaceFile } from '../base/files/durable-file.ts';
import { EvictdError, errnoOf, isErrno, messageOf } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { makeFolder } from '../base/files/folder.ts';
import type { State } from '../core/state.ts';
import { JOURNAL_VERSION, JournalFile, fromKept, toKept } from './schema.ts';

/** What was found at the start. */
export type Found =
  | { readonly kind: 'nothing' }
  /** The daemon was restarted: go on. */
  | { readonly kind: 'same-boot'; readonly state: State }
  /** The machine was rebooted: close what was open. */
  | { readonly kind: 'earlier-boot'; readonly state: State }
  /** Could not be understood; it was moved to `setAside` (if even that failed: undefined). */
  | { readonly kind: 'unreadable'; readonly reason: string; readonly setAside: string | undefined };

export interface Journal {
  readonly file: string;
  /** Makes the folder if need be. Rejects `state-unwritable` when it can't be written. */
  checkFolder(): Promise<void>;
  /** Never rejects. Also from a folder that has become read-only: what it remembers still counts. */
  load(): Promise<Found>;
  /** Why `load` would set it aside; undefined when it wouldn't. Changes nothing. */
  problem(): Promise<string | undefined>;
  /**
   * Durable when it resolves; rejects with the system's error. Undefined: nothing has changed. Calls may overlap, as
   * they do while a disk hangs: they share one write after the other, and only the newest state counts.
   */
  write(state: State): Promise<void> | undefined;
}

const BYTES_MAX = 16 * 1024 * 1024;

/**
 * The daemon's memory: one small file, replaced as a whole (temporary file, fsync, rename, fsync of the folder), so
 * that at any instant there is either the old one or the new one. It is bound to the boot: the monotonic times in it
 * mean nothing after a reboot.
 */
export function createJournal(options: { readonly dir: string; readonly bootId: string }): Journal {
  const file = path.join(options.dir, 'journal.json');
  // INVARIANT: at most one replacement of the file is under way; two at once would share the temporary file.
  let written: string | undefined;
  let wanted: string | undefined;
  let writing: Promise<void> | undefined;

  async function writeNewest(): Promise<void> {
    try {
      for (let text = wanted; text !== undefined && text !== written; text = wanted) {
        await replaceFile(file, [text]);
        written = text;
      }
    } finally {
      writing = undefined;
    }
  }

  return {
    file,
    checkFolder: () => prepareFolder(options.dir),
    load: () => load(file, options.bootId),
    async problem() {
      const read = await readKept(file);
      return read.kind === 'unreadable' ? read.reason : undefined;
    },
    write(state) {
      const record = { version: JOURNAL_VERSION, bootId: options.bootId, state: toKept(state) };
      wanted = `${JSON.stringify(record)}\n`;
      if (writing === undefined && wanted === written) return undefined;
      writing ??= writeNewest();
      return writing;
    },
  };
}

async function load(file: string, bootId: string): Promise<Found> {
  const read = await readKept(file);
  if (read.kind === 'nothing') return read;
  if (read.kind === 'unreadable') return setAside(file, read.reason);
  const state = fromKept(read.kept.state);
  return read.kept.bootId === bootId ? { kind: 'same-boot', state } : { kind: 'earlier-boot', state };
}

type Read =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'unreadable'; readonly reason: string }
  | { readonly kind: 'read'; readonly kept: JournalFile };

async function readKept(file: string): Promise<Read> {
  try {
    return parse(await readBounded(file));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return { kind: 'nothing' };
    return { kind: 'unreadable', reason: messageOf(error) };
  }
}

function parse(text: string): Read {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return { kind: 'unreadable', reason: `not JSON: ${messageOf(error)}` };
  }
  const result = JournalFile.safeParse(json);
  if (result.success) return { kind: 'read', kept: result.data };
  const [issue] = result.error.issues;
  return {
    kind: 'unreadable',
    reason: `${issue?.path.join('.') ?? 'journal'}: ${issue?.message ?? 'not understood'}`,
  };
}

async function readBounded(file: string): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    if (size > BYTES_MAX) {
      throw new EvictdError(
        'journal-too-large',
        `it has ${formatSize(size)}, more than the ${formatSize(BYTES_MAX)} that it ever needs`,
      );
    }
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

/** Kept for a person to look at; only the newest, so that a crash loop can't fill the disk. */
async function setAside(file: string, reason: string): Promise<Found> {
  const target = `${file}.unreadable`;
  try {
    await rename(file, target);
    return { kind: 'unreadable', reason, setAside: target };
  } catch {
    // Reported through `setAside` being undefined; the next write replaces the file.
    return { kind: 'unreadable', reason, setAside: undefined };
  }
}

async function prepareFolder(dir: string): Promise<void> {
  const probe = path.join(dir, '.writable');
  try {
    await makeFolder(dir, 0o700);
    await (await open(probe, 'w', 0o600)).close();
    await rm(probe);
  } catch (error) {
    throw unwritable(dir, error);
  }
}

/** What a failed write into the folder means for whoever has to repair it. */
export function unwritable(dir: string, error: unknown): EvictdError {
  const remedy = isErrno(error, 'EROFS', 'ENOENT')
    ? `make the folder, and let the service write there: ReadWritePaths=${dir} (systemctl edit evictd)`
    : "make it a folder that the daemon's user may write, or set state.dir";
  const why = errnoOf(error) ?? messageOf(error);
  return new EvictdError('state-unwritable', `state.dir: ${dir} can't be written: ${why}`, {
    remedy,
    cause: error,
  });
}

/** The kernel's id of this boot. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
