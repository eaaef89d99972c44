import type { Clock, MonotonicMs } from '../../../base/clock.ts';
import { type FileRecord, isWhole } from '../../index/record.ts';
import { type FileStat, sameStat } from '../../scan/file-stat.ts';

/*
 * When a file's times say that nothing was written, and when they don't.
 *
 * Writes through a shared mapping: the kernel stamps the file when a clean page is written to, and not again before that
 * page was written back, which takes `vm.dirty_expire_centisecs` (30 s) and the flusher's interval (5 s), or longer on a
 * busy disk. So what was read within DOUBTFUL_MS of the last stamp may have been written to since, without a trace.
 * Source: Linux Documentation/admin-guide/sysctl/vm.rst.
 *
 * One large write(2): the kernel stamps the file once, before it copies the first byte. So what was read while a writer
 * may still have been inside of one is read again; see `quietMsFor`.
 *
 * Both count on the monotonic clock, from when the very same stat was seen first: the times of files are of a clock that
 * can be stepped.
 */

const DOUBTFUL_MS = 60_000;

/** The file holds what the record says, and the store has that: it needn't be read. */
export function isTrusted(
  record: FileRecord | undefined,
  stat: FileStat,
  isStamped: boolean,
): record is FileRecord {
  return (
    record !== undefined &&
    isStamped &&
    sameStat(record.stat, stat) &&
    record.isVersion &&
    record.readAt - record.seenAt >= DOUBTFUL_MS &&
    isWhole(record)
  );
}

/** Comparing it before then would leave the same doubt. */
export function isDoubtOver(record: FileRecord, now: MonotonicMs): boolean {
  return now - record.seenAt >= DOUBTFUL_MS;
}

/** A restore has written the file itself, under a name that nobody had yet: no program has it mapped. */
export function trustedSince(now: MonotonicMs): Pick<FileRecord, 'seenAt' | 'readAt'> {
  return { seenAt: now - DOUBTFUL_MS, readAt: now };
}

/** Coarse kernel clocks stamp a file every 4 to 10 ms. */
const TICK_MS = 20;
/** A write copies no slower than this into the page cache. */
const COPY_BYTES_PER_MS = 200 * 1024;
/** One write takes 2 GiB at most; a writer that waits for a slow disk inside of it can still be missed. */
const QUIET_MS_MAX = 10_000;

/** So long after its last stamp nobody can be inside of a write to a file of `size` bytes. */
export function quietMsFor(size: number): number {
  return Math.min(QUIET_MS_MAX, TICK_MS + size / COPY_BYTES_PER_MS);
}

/**
 * How long the file's newest stamp had been there when it was read, at least: since it was seen first, or by the times
 * of the file where the guest's clock has gone evenly while this process runs.
 */
export function quietMs(
  stat: FileStat,
  seenAt: MonotonicMs,
  at: MonotonicMs,
  wall: { readonly clock: Clock; readonly offsetMs: number },
): number {
  const offsetMs = wall.clock.wallMs() - wall.clock.monotonicMs();
  const isSteady = Math.abs(offsetMs - wall.offsetMs) < STEP_MS;
  const byTimesMs = isSteady ? at + offsetMs - Number(stat.ctimeNs / 1000n) / 1000 : -Infinity;
  return Math.max(at - seenAt, byTimesMs);
}

const STEP_MS = 1000;
