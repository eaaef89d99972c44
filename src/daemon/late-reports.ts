import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { isErrno } from '../base/errors.ts';
import { replaceFile } from '../base/files/durable-file.ts';
import { makeFolder } from '../base/files/folder.ts';
import { type DrainReport, parseReport } from '../observe/drain-report.ts';

/**
 * Reports of drains that the store didn't take in time, which are those that matter most: they wait on the disk and are
 * written once the store answers, also by a later process.
 */
export interface LateReports {
  /** The newest of an event stands. Rejects with the system's error. */
  keep(report: DrainReport): Promise<void>;
  /** A newer one was written: where an older one still waits, or is just being written, it must not stand in the end. */
  replace(report: DrainReport): Promise<void>;
  stop(): void;
}

export interface LateReportsDependencies {
  readonly clock: Clock;
  /** Stores one; rejects when it can't. */
  readonly write: (report: DrainReport, signal: AbortSignal) => Promise<void>;
  /** A drain needs the line to the store for itself. */
  readonly isDraining: () => boolean;
  readonly onWritten: (eventId: string) => void;
  /** What is in the file is no report, and it was removed. */
  readonly onSpoiled: (file: string, why: string) => void;
}

const AGAIN_MS = 15_000;
const WRITE_MS = 60_000;
/** A store that is away for days, on a VM whose evictions are withdrawn again and again. */
const REPORTS_MAX = 32;

export function startLateReports(dir: string, dependencies: LateReportsDependencies): LateReports {
  const { clock, isDraining } = dependencies;
  const folder = join(dir, 'reports');
  const stopping = new AbortController();
  /** Ids of events. */
  const waiting = new Set<string>();
  // One at a time: an event may have a newer report while the older one is being written.
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = turn.then(work);
    turn = result.catch(() => undefined);
    return result;
  };

  async function writeAll(): Promise<void> {
    for (const name of await namesIn(folder)) {
      if (isDraining()) return;
      using bound = boundedSignal(clock, WRITE_MS, stopping.signal);
      // A store or a disk that fails is said elsewhere; what waits goes on waiting.
      await inTurn(() => writeOne(join(folder, name), bound.signal)).catch(() => undefined);
    }
  }

  async function writeOne(file: string, signal: AbortSignal): Promise<void> {
    const report = parseReport(await readFile(file, 'utf8'));
    if (typeof report === 'string') {
      await rm(file, { force: true });
      return dependencies.onSpoiled(file, report);
    }
    const { eventId } = report;
    waiting.add(eventId);
    await dependencies.write(report, signal);
    await rm(file, { force: true });
    waiting.delete(eventId);
    dependencies.onWritten(eventId);
  }

  async function keepTrying(): Promise<void> {
    while (!stopping.signal.aborted) {
      await writeAll().catch(() => undefined);
      await sleep(clock, AGAIN_MS, stopping.signal).catch(() => undefined);
    }
  }

  async function keep(report: DrainReport): Promise<void> {
    await makeFolder(folder, 0o700);
    await replaceFile(join(folder, fileOf(report.eventId)), [JSON.stringify(report)]);
    const names = await namesIn(folder);
    for (const name of names.slice(0, -REPORTS_MAX)) await rm(join(folder, name), { force: true });
    waiting.add(report.eventId);
  }

  void keepTrying();
  return {
    keep: (report) => inTurn(() => keep(report)),
    async replace(report) {
      if (waiting.has(report.eventId)) await inTurn(() => keep(report));
    },
    stop: () => stopping.abort(),
  };
}

/** An id may have slashes, as far as anybody knows. */
function fileOf(eventId: string): string {
  return `${encodeURIComponent(eventId)}.json`;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith('.json')).toSorted();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
