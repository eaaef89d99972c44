import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import * as z from 'zod';

import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { replaceFile } from '../base/files/durable-file.ts';
import { isErrno, messageOf } from '../base/errors.ts';
import { tryParseJson } from '../base/json.ts';
import type { Log } from '../observe/log.ts';

/*
 * A machine that is taken away may come back with its disk (eviction policy Deallocate), and what was only in its memory
 * is lost then: a file can have its name and time, and another content. So what was saved for a notice or a shutdown is
 * written to disk as well, as far as there is time; and that it was saved is noted in state.dir. The restore after the
 * next boot compares with the checkpoint then, though it has restored the folder before.
 */

const FILE = 'goodbye.json';

const Note = z.object({
  version: z.literal(1),
  /** By set: the newest checkpoint that was made as a machine was about to end. */
  sets: z.record(z.string(), z.object({ bootId: z.string(), key: z.string(), id: z.string() })),
});
type Note = z.infer<typeof Note>;

export interface Goodbye {
  readonly key: string;
  /** Of the checkpoint. */
  readonly id: string;
}

/** Says what was saved as this machine was about to end, for the case that its disk outlives it. */
export interface Goodbyes {
  /** Notes it, on disk when it resolves or soon after, and begins to write the folder to disk. Never rejects. */
  say(set: string, id: string, signal: AbortSignal): Promise<void>;
  /** Resolves once what was begun is on disk, and at the abort of the signal. */
  synced(signal: AbortSignal): Promise<void>;
}

export interface GoodbyeOptions {
  /** `state.dir`. */
  readonly dir: string;
  readonly bootId: string;
  readonly key: string;
  /** Folders by set. */
  readonly paths: ReadonlyMap<string, string>;
}

/** The disk may hang, and nobody waits for that when there is a notice. */
const NOTE_MS_MAX = 1000;

export function createGoodbyes(
  { dir, bootId, key, paths }: GoodbyeOptions,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Goodbyes {
  const syncs = new Map<string, Promise<void>>();
  let writing: Promise<void> = Promise.resolve();
  const note = async (set: string, id: string) => {
    const { sets } = (await readNote(dir).catch(() => undefined)) ?? { sets: {} };
    const text = JSON.stringify({ version: 1, sets: { ...sets, [set]: { bootId, key, id } } } satisfies Note);
    await replaceFile(join(dir, FILE), [`${text}\n`]);
  };
  const begin = (set: string) => {
    const path = paths.get(set);
    if (path === undefined || syncs.has(set)) return;
    syncs.set(
      set,
      syncFolder(path).finally(() => syncs.delete(set)),
    );
  };
  return {
    async say(set, id, signal) {
      begin(set);
      // One after the other: each has what the one before wrote.
      const written = writing.then(() => note(set, id));
      writing = written.catch(() => undefined);
      using bound = boundedSignal(clock, NOTE_MS_MAX, signal);
      try {
        await abandonOn(bound.signal, written);
      } catch (error) {
        log.warn('not noted that a set was saved, continuing', { set, id, detail: messageOf(error) });
      }
    },
    async synced(signal) {
      await abandonOn(signal, Promise.all(syncs.values())).catch(() => undefined);
    },
  };
}

/** By sync(1), since Node has no syncfs(2). Never rejects: where there is none, files are as safe as they were. */
function syncFolder(path: string): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn('sync', ['--file-system', path], {
      env: { PATH: '/usr/bin:/bin' },
      stdio: 'ignore',
    });
    child.once('error', () => resolve());
    child.once('close', () => resolve());
    child.unref();
  });
}

/**
 * What earlier boots have said of each set. `unknown`: it can't be read, so that nothing on this disk may be trusted.
 */
export async function readGoodbyes(
  dir: string,
  bootId: string,
): Promise<ReadonlyMap<string, Goodbye> | 'unknown'> {
  try {
    const note = await readNote(dir);
    return new Map(Object.entries(note?.sets ?? {}).filter(([, said]) => said.bootId !== bootId));
  } catch {
    return 'unknown';
  }
}

/** Rejects when there is one that can't be used. */
async function readNote(dir: string): Promise<Note | undefined> {
  try {
    return Note.parse(tryParseJson(await readFile(join(dir, FILE), 'utf8')));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}
