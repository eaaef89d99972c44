import { formatCount, formatDuration, formatSize } from '../base/units.ts';
import type { DrillResult } from '../daemon/drill-result.ts';
import { GREEN, RED, paint } from './colors.ts';

/** For a terminal: the timeline as bars against the window, the verdict, and what to change. */
export function describeDrill(result: DrillResult, hasColors: boolean): string {
  const { report, windowMs, notPart, leftBehind, resumed } = result;
  const rows = stepsOf(result);
  const width = Math.max(...rows.map(({ label }) => label.length), 10);
  const end = formatDuration(windowMs);
  const lines = [
    `Drill: ${report.eventType} of ${report.vmName ?? 'this VM'}, ${end} of notice`,
    '',
    `${' '.repeat(width)}  0 s${end.padStart(BAR_CELLS - 1)}`,
    ...rows.map((row) => {
      const bar = paint(barOf(row, windowMs), row.isGood ? GREEN : RED, hasColors);
      return `${row.label.padEnd(width)}  │${bar}│ ${row.note}`;
    }),
    ...resumed.map(
      (hook) =>
        `afterwards: hook ${hook.name} ${hook.kind} after ${formatDuration(hook.durationMs)}` +
        (hook.kind === 'failed' ? `: ${hook.detail}` : ''),
    ),
    '',
    paint(drillVerdict(result), result.verdict === 'fits' ? GREEN : RED, hasColors),
    ...uploadLine(result),
    ...result.reasons.map((text) => `  - ${text}`),
    ...(result.advice.length === 0 ? [] : ['To change:', ...result.advice.map((text) => `  - ${text}`)]),
    ...(notPart.length === 0 ? [] : [`Not part of a drill: ${notPart.join(', ')}.`]),
    ...(leftBehind === undefined ? [] : [`Left behind: ${leftBehind}.`]),
  ];
  return `${lines.join('\n')}\n`;
}

/** One sentence. */
export function drillVerdict({ verdict, usedMs, neededMs, windowMs }: DrillResult): string {
  const window = formatDuration(windowMs);
  switch (verdict) {
    case 'fits':
      return `FITS: all is done ${formatDuration(usedMs)} after the notice, ${formatDuration(windowMs - usedMs)} before the end`;
    case 'too-slow':
      return neededMs === undefined
        ? `DOES NOT FIT: it takes more than the ${window} of the notice`
        : `DOES NOT FIT: it would take about ${formatDuration(neededMs)}, the notice gives ${window}`;
    case 'fails':
      return `FAILS: something is broken, whatever the time`;
  }
}

interface Step {
  readonly label: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly isGood: boolean;
  readonly note: string;
}

/** In the order in which they are done. */
function stepsOf({ report, usedMs }: DrillResult): readonly Step[] {
  const hooks = (stage: string) =>
    report.hooks
      .filter((hook) => hook.stage === stage)
      .map(({ name, state, reason, startedMs, durationMs = 0 }): Step => {
        const fromMs = startedMs ?? usedMs;
        const why = state === 'succeeded' ? '' : ` ${state}${reason === undefined ? '' : ` (${reason})`}`;
        return {
          label: `hook ${name}`,
          fromMs,
          toMs: fromMs + durationMs,
          isGood: state === 'succeeded',
          note: `${formatDuration(durationMs)}${why}`,
        };
      });
  const sets = report.sets.map(
    ({ name, state, startedMs, committedMs, bytesSent = 0, files, bytes }): Step => {
      const fromMs = startedMs ?? usedMs;
      const toMs = committedMs ?? usedMs;
      const isGood = state === 'committed';
      const what = isGood
        ? `, sent ${formatSize(bytesSent)} of ${formatSize(bytes)} in ${formatCount(files, 'file')}`
        : ' not committed';
      return { label: `set ${name}`, fromMs, toMs, isGood, note: `${formatDuration(toMs - fromMs)}${what}` };
    },
  );
  return [
    ...hooks('before-checkpoint'),
    ...sets,
    ...hooks('after-checkpoint'),
    ...phase(report.timeline, 'report', 'report'),
    ...(report.outcome === 'success' ? phase(report.timeline, 'ack', 'acknowledgement') : []),
  ];
}

function phase(timeline: DrillResult['report']['timeline'], name: string, label: string): Step[] {
  const index = timeline.findIndex((entry) => entry.phase === name);
  const fromMs = timeline[index]?.atMs;
  const toMs = timeline[index + 1]?.atMs;
  if (fromMs === undefined || toMs === undefined) return [];
  return [{ label, fromMs, toMs, isGood: true, note: formatDuration(toMs - fromMs) }];
}

const BAR_CELLS = 40;

/** As wide as the window; what goes beyond it ends in an arrow. */
function barOf({ fromMs, toMs, isGood }: Step, windowMs: number): string {
  const cell = (ms: number) => Math.min(BAR_CELLS, Math.round((ms / windowMs) * BAR_CELLS));
  const from = Math.min(cell(fromMs), BAR_CELLS - 1);
  const length = Math.max(1, cell(toMs) - from);
  const bar = (isGood ? '█' : '▒').repeat(length);
  const clipped = toMs > windowMs ? `${bar.slice(0, -1)}▶` : bar;
  return `${' '.repeat(from)}${clipped}`.padEnd(BAR_CELLS);
}

function uploadLine({ upload, committedMs, report }: DrillResult): string[] {
  if (upload.store === undefined || report.sets.length === 0) return [];
  const { bytesSent, bytesLeft, bytesPerSecond, store } = upload;
  const rate = bytesPerSecond === undefined ? '' : ` at ${formatSize(bytesPerSecond)}/s`;
  const left = bytesLeft === 0 ? '' : `, ${formatSize(bytesLeft)} left`;
  const when = committedMs === undefined ? '' : `, committed ${formatDuration(committedMs)} after the notice`;
  return [`Moved ${formatSize(bytesSent)}${left}${rate}${when}, to ${store}`];
}
