import { formatDuration, formatSize } from '../base/units.ts';
import type { DrainReport, SetReport } from '../observe/drain-report.ts';
import type { Resumed } from './drill-stage.ts';
import type { Rehearsal } from './rehearse.ts';

/**
 * What `evictd drill --json` prints. A stable contract; times are in ms.
 * `fits`: all was done within the window. `too-slow`: it would have been, with more time. `fails`: something is broken.
 */
export interface DrillResult {
  readonly version: 1;
  readonly verdict: 'fits' | 'too-slow' | 'fails';
  readonly windowMs: number;
  /** From the notice to the acknowledgement, or to where it was given up. */
  readonly usedMs: number;
  /** The same as `usedMs` when it fits; else what it would take, as far as that can be told. */
  readonly neededMs: number | undefined;
  /** From the notice until the last set was committed; undefined without sets, or when one was not. */
  readonly committedMs: number | undefined;
  readonly upload: {
    /** Sent for the drill: what a notice had to move. */
    readonly bytesSent: number;
    /** What there was no time to send. */
    readonly bytesLeft: number;
    readonly bytesPerSecond: number | undefined;
    /** Undefined without a checkpoint section. */
    readonly store: string | undefined;
  };
  /** Why it doesn't fit, one sentence each. */
  readonly reasons: readonly string[];
  /** What to change, one sentence each. */
  readonly advice: readonly string[];
  /** What a real eviction does besides. */
  readonly notPart: readonly string[];
  /** Why something of the drill is still in the store. */
  readonly leftBehind: string | undefined;
  /** The `on-resume` hooks that ran afterwards. */
  readonly resumed: readonly Resumed[];
  /** The drain, as reports of real ones tell it. */
  readonly report: DrainReport;
}

export interface DrillFacts {
  readonly rehearsal: Rehearsal;
  /** In ms, by the name of the hook, as configured. */
  readonly timeouts: ReadonlyMap<string, number>;
  readonly isDaemonRunning: boolean;
  readonly notPart: readonly string[];
  readonly store: string | undefined;
  readonly leftBehind: string | undefined;
}

/** With less there was nothing to measure but latency. */
const MEASURED_BYTES_MIN = 1024 ** 2;

export function drillResult({ rehearsal, store, ...facts }: DrillFacts): DrillResult {
  const { resumed } = rehearsal;
  const report = withBytesSent(rehearsal);
  const troubles = [...hookTroubles(report, facts.timeouts), ...setTroubles(report)];
  const isBroken = troubles.some(({ isOfTime }) => !isOfTime);
  const isDone = report.outcome === 'success';
  const verdict = isDone ? 'fits' : isBroken ? 'fails' : 'too-slow';
  const sets = report.sets.map((set) => set.committedMs);
  const usedMs = report.timeline.find(({ phase }) => phase === 'waiting')?.atMs ?? report.writtenMs;
  const bytesSent = sum(report.sets.map((set) => set.bytesSent ?? 0));
  const bytesPerSecond = bytesSent < MEASURED_BYTES_MIN ? undefined : rehearsal.bytesPerSecond;
  const upload = {
    bytesSent,
    bytesLeft: sum(report.sets.map(({ bytesNotStored = 0 }) => bytesNotStored)),
    bytesPerSecond: bytesPerSecond === undefined ? undefined : Math.round(bytesPerSecond),
    store,
  };
  const committed = sets.filter((at) => at !== undefined);
  const result = {
    version: 1,
    verdict,
    windowMs: report.windowMs,
    usedMs,
    neededMs: isDone ? usedMs : neededMs(rehearsal, isBroken),
    committedMs: sets.length === 0 || committed.length < sets.length ? undefined : Math.max(...committed),
    upload,
    reasons: troubles.map(({ text }) => text),
    notPart: facts.notPart,
    leftBehind: facts.leftBehind,
    resumed,
    report,
  } as const;
  return { ...result, advice: adviceFor(result, facts.isDaemonRunning) };
}

/** Also of sets that were not committed. */
function withBytesSent({ report, bytesSent }: Rehearsal): DrainReport {
  return { ...report, sets: report.sets.map((set) => ({ bytesSent: bytesSent.get(set.name) ?? 0, ...set })) };
}

interface Trouble {
  readonly text: string;
  /** More time would have helped. */
  readonly isOfTime: boolean;
}

/** A hook that was ended before this share of its own timeout was cut short by the budget. */
const CUT_SHARE = 0.9;

function hookTroubles({ hooks }: DrainReport, timeouts: DrillFacts['timeouts']): Trouble[] {
  return hooks
    .filter(({ state, stage }) => state !== 'succeeded' && stage !== 'on-resume')
    .map(({ name, required, reason, detail, durationMs }) => {
      const isOfTime = reason === 'timeout' || reason === 'no-time' || !required;
      const optional = required ? '' : ' (optional)';
      const why =
        reason === 'no-time'
          ? 'was not run: no time was left for it'
          : `failed after ${formatDuration(durationMs ?? 0)}: ${detail ?? reason ?? 'no result'}`;
      const timeoutMs = timeouts.get(name) ?? 0;
      const isCut = reason === 'timeout' && (durationMs ?? 0) < timeoutMs * CUT_SHARE;
      const cut = isCut
        ? `; it did not get its ${formatDuration(timeoutMs)}, which the upload and the other hooks need`
        : '';
      return { text: `hook ${name}${optional} ${why}${cut}`, isOfTime };
    });
}

/** Codes of a commit that the end of the window has cut short. */
const OUT_OF_TIME: ReadonlySet<string> = new Set(['timeout', 'aborted']);

function setTroubles({ sets }: DrainReport): Trouble[] {
  return sets
    .filter(({ state }) => state !== 'committed')
    .map((set) => {
      const isOfTime = set.code === undefined || OUT_OF_TIME.has(set.code);
      const left =
        set.bytesNotStored === undefined ? '' : `, ${formatSize(set.bytesNotStored)} still to send`;
      const why = isOfTime ? 'the window was over first' : (set.detail ?? set.code ?? '');
      return { text: `set ${set.name} was not committed: ${why}${isOfTime ? left : ''}`, isOfTime };
    });
}

/** The window it would have taken, as far as the bytes go; hooks that were cut short leave that open. */
function neededMs({ late, bytesPerSecond = 0 }: Rehearsal, isBroken: boolean): number | undefined {
  const isCut = late.hooks.some(({ reason }) => reason === 'timeout' || reason === 'no-time');
  if (isBroken || isCut) return undefined;
  const committed = late.sets.map(({ committedMs }) => committedMs ?? late.writtenMs);
  const bytesLeft = sum(late.sets.map(({ bytesNotStored = 0 }) => bytesNotStored));
  if (bytesLeft > 0 && bytesPerSecond === 0) return undefined;
  const restMs = bytesLeft === 0 ? 0 : (bytesLeft / bytesPerSecond) * 1000;
  return Math.round(Math.max(...committed, 0) + restMs);
}

/** A hook that takes more than this share of the window is worth a look even when all fits. */
const LONG_HOOK_SHARE = 0.25;
/** Evictions in less time are reported: learn.microsoft.com promises the 30 s as best effort only. */
const SHORT_NOTICE_MS = 10_000;

function adviceFor(result: Omit<DrillResult, 'advice'>, isDaemonRunning: boolean): string[] {
  const { report, windowMs, verdict, committedMs, upload } = result;
  const isTight = verdict !== 'fits';
  const slowest = report.hooks
    .filter(({ stage }) => stage !== 'on-resume')
    .toSorted((one, other) => (other.durationMs ?? 0) - (one.durationMs ?? 0))[0];
  const largest = report.sets.toSorted((one, other) => moved(other) - moved(one))[0];
  const advice: string[] = [];
  if (slowest?.durationMs !== undefined && slowest.durationMs > windowMs * LONG_HOOK_SHARE) {
    const share = `${formatDuration(slowest.durationMs)} of ${formatDuration(windowMs)}`;
    advice.push(
      `make the hook ${slowest.name} quicker, it is the slowest (${share}), or lower its timeout so that others get the time`,
    );
  }
  if (largest !== undefined && moved(largest) > 0 && (isTight || (committedMs ?? 0) > SHORT_NOTICE_MS)) {
    const rate = upload.bytesPerSecond === undefined ? '' : ` at ${formatSize(upload.bytesPerSecond)}/s`;
    advice.push(
      `move less of the set ${largest.name}, it is the largest (${formatSize(moved(largest))}${rate}): ` +
        'exclude what can be made anew, stage more often (checkpoint.background.interval and maxRate), ' +
        'or commit on a schedule (checkpoint.every)',
    );
  }
  if (verdict === 'fits' && committedMs !== undefined && committedMs > SHORT_NOTICE_MS) {
    advice.push(
      `the checkpoint was complete only after ${formatDuration(committedMs)}: notices of less than 10 s happen`,
    );
  }
  if (!isDaemonRunning && report.sets.length > 0 && upload.bytesSent > 0) {
    advice.push(
      'start evictd (systemctl enable --now evictd): it is not running, so nothing was staged in the background, ' +
        'and all of that had to be sent',
    );
  }
  return advice;
}

function moved({ bytesSent = 0, bytesNotStored = 0 }: SetReport): number {
  return bytesSent + bytesNotStored;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
