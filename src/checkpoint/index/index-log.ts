import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

import { EvictdError, messageOf } from '../../base/errors.ts';
import { type Content, type IndexPlace, snapshotLines } from './content.ts';
import { type LineText, createLogFile } from './log-file.ts';

/** Keeps the content of a local index in its file. */
export interface IndexLog {
  /** A line that says what has changed; nobody waits for it. */
  later(line: LineText): void;
  /** There is other content: what waits is of no use any more. */
  renew(): void;
  /** Writes what isn't written yet. Rejects `index-unwritten`. */
  save(): Promise<void>;
  close(): Promise<void>;
}

/** Of lines in the file, so many times what is left of them. */
const OUTGROWN = 3;

/*
 * INVARIANTS
 * - One writing at a time; what comes meanwhile goes with the next one.
 * - A file that has outgrown its content, or that something could not be written to, is replaced by a snapshot.
 */
export function createIndexLog(
  place: IndexPlace,
  content: () => Content,
  wholeBytes: number | undefined,
  onFailure: (error: EvictdError) => void,
): IndexLog {
  const { file } = place;
  if (file === undefined) return NOTHING_KEPT;
  const log = createLogFile(file, wholeBytes);
  let waiting: LineText[] = [];
  let writing: Promise<void> | undefined;
  let isTold = false;
  const isToBeReplaced = () => {
    const { files, pieces, packs, lines } = content();
    return log.isBroken || lines > OUTGROWN * (files.size + pieces.size + packs.size) + 1000;
  };
  const isDue = () => waiting.length > 0 || isToBeReplaced();
  const writeAll = async () => {
    const lines = waiting;
    waiting = [];
    const written = content();
    if (isToBeReplaced()) {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      const all = snapshotLines(place, written);
      await log.replace(all);
      written.lines = all.length;
    } else {
      await log.append(lines);
      written.lines += lines.length;
    }
    isTold = false;
  };
  const begin = (): Promise<void> => {
    writing ??= writeAll().finally(() => (writing = undefined));
    return writing;
  };
  const beginUnlessUnderWay = () => {
    if (writing !== undefined || !isDue()) return;
    void begin().then(beginUnlessUnderWay, (error: unknown) => {
      if (!isTold) onFailure(unwritten(file, error));
      isTold = true;
    });
  };
  return {
    later(line) {
      waiting.push(line);
      beginUnlessUnderWay();
    },
    renew() {
      waiting = [];
      beginUnlessUnderWay();
    },
    async save() {
      try {
        for (let isOver = false; !isOver; isOver = writing === undefined && !isDue()) await begin();
      } catch (error) {
        throw unwritten(file, error);
      }
    },
    close: () => log.close(),
  };
}

const NOTHING_KEPT: IndexLog = {
  later: () => undefined,
  renew: () => undefined,
  save: async () => undefined,
  close: async () => undefined,
};

function unwritten(file: string, error: unknown): EvictdError {
  return new EvictdError('index-unwritten', `the local index ${file} can't be written: ${messageOf(error)}`, {
    remedy: 'make room in state.dir; until then a restart reads all files again',
    cause: error,
  });
}
