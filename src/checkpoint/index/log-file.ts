import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { replaceFile } from '../../base/files/durable-file.ts';

/**
 * A file of JSON lines that only grows, until it is replaced as a whole. What a process has appended is there for the
 * next one of the same boot, however the process ended; nothing is synced, since another boot doesn't use it.
 *
 * INVARIANTS
 * - Appends and replacements are done one after the other, in the order of asking.
 * - After a failure nothing is appended before the file has been replaced: it may end in half a line.
 */
export interface LogFile {
  /** Resolves when the lines are written. Rejects with the system's error. */
  append(lines: Iterable<LineText>): Promise<void>;
  /** In place of all that is there; mode 0600. Rejects with the system's error. */
  replace(lines: Iterable<LineText>): Promise<void>;
  /** Something could not be written, or nothing ever was: it has to be replaced. */
  readonly isBroken: boolean;
  close(): Promise<void>;
}

/** A line, or what makes it: of a hundred thousand not all have to be there before the first is written. */
export type LineText = string | (() => string);

/** `wholeBytes`: it is good up to there, as `readLines` has found; absent: it is to be replaced first. */
export function createLogFile(file: string, wholeBytes?: number): LogFile {
  let handle: FileHandle | undefined;
  let goodBytes = wholeBytes;
  let isBroken = wholeBytes === undefined;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  const close = async () => {
    const open = handle;
    handle = undefined;
    await open?.close();
  };
  const appendNow = async (lines: Iterable<LineText>) => {
    if (isBroken) throw new Error('an earlier line could not be written');
    try {
      handle ??= await openToAppend(file, goodBytes);
      // From now on all that is there is ours.
      goodBytes = undefined;
      for (const text of inPieces(lines)) await handle.appendFile(text);
    } catch (error) {
      isBroken = true;
      throw error;
    }
  };
  return {
    append: (lines) => inTurn(() => appendNow(lines)),
    replace: (lines) =>
      inTurn(async () => {
        isBroken = true;
        await close();
        await replaceFile(file, inPieces(lines));
        goodBytes = undefined;
        isBroken = false;
      }),
    get isBroken() {
      return isBroken;
    },
    close: () => inTurn(close),
  };
}

async function openToAppend(file: string, wholeBytes: number | undefined): Promise<FileHandle> {
  const handle = await open(file, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW);
  try {
    // What follows was being written by a process that died.
    if (wholeBytes !== undefined) await handle.truncate(wholeBytes);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** No line is larger. */
const LINE_BYTES_MAX = 64 * 1024 ** 2;
/** So many lines as are in it are handled before others have their turn. */
const READ_BYTES = 128 * 1024;

/** The whole lines of a file, each with the byte behind its end. What follows the last one is left out. */
export async function* readLines(file: string): AsyncGenerator<readonly [line: string, end: number]> {
  await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  let rest: Buffer[] = [];
  let restBytes = 0;
  for (let position = 0; ;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    let start = 0;
    for (let end = lineEnd(buffer, start, bytesRead); end !== -1; end = lineEnd(buffer, start, bytesRead)) {
      const line = Buffer.concat([...rest, buffer.subarray(start, end)]).toString('utf8');
      yield [line, position + end + 1];
      rest = [];
      restBytes = 0;
      start = end + 1;
    }
    restBytes += bytesRead - start;
    if (restBytes > LINE_BYTES_MAX) throw new Error('a line is too long');
    rest.push(Buffer.from(buffer.subarray(start, bytesRead)));
    position += bytesRead;
  }
}

function lineEnd(buffer: Buffer, start: number, end: number): number {
  const found = buffer.indexOf(0x0a, start);
  return found < end ? found : -1;
}

/** Made without a pause. */
const PIECE_CHARACTERS = 256 * 1024;

function* inPieces(lines: Iterable<LineText>): Iterable<string> {
  let text = '';
  for (const line of lines) {
    text += typeof line === 'string' ? line : line();
    text += '\n';
    if (text.length < PIECE_CHARACTERS) continue;
    yield text;
    text = '';
  }
  if (text !== '') yield text;
}
