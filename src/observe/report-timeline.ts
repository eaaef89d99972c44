import { formatDuration } from '../base/units.ts';
import type { DrainReport } from './drain-report.ts';
import { escapeHtml } from './escape-html.ts';

interface Bar {
  readonly label: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly color: string;
  readonly note: string;
}

const WIDTH = 960;
const LABELS_WIDTH = 220;
const ROW = 22;
const TOP = 26;
const TICKS = 6;
const COLORS = { phase: '#8da4ef', good: '#5bb98b', bad: '#e5484d', open: '#b9bbc6' } as const;
const LABEL_CHARACTERS_MAX = 30;

/** Phases, hooks and sets as bars on one axis, from the notice to the end of the window. An inline SVG. */
export function timelinePicture(report: DrainReport): string {
  const bars = [...phaseBars(report), ...hookBars(report), ...setBars(report)];
  const endMs = Math.max(report.windowMs, report.writtenMs, ...bars.map(({ toMs }) => toMs), 1);
  const x = (ms: number) =>
    Math.round(LABELS_WIDTH + (Math.max(0, ms) / endMs) * (WIDTH - LABELS_WIDTH - 40));
  const height = TOP + bars.length * ROW + 8;
  const ticks = Array.from({ length: TICKS + 1 }, (_, index) => (endMs / TICKS) * index).map(
    (ms) =>
      `<line x1="${x(ms)}" y1="${TOP - 6}" x2="${x(ms)}" y2="${height}" class="tick"/>` +
      `<text x="${x(ms)}" y="14" text-anchor="middle">${escapeHtml(formatDuration(ms))}</text>`,
  );
  const rows = bars.map(({ label, fromMs, toMs, color, note }, index) => {
    const y = TOP + index * ROW;
    const name = label.length > LABEL_CHARACTERS_MAX ? `${label.slice(0, LABEL_CHARACTERS_MAX - 1)}…` : label;
    const title = escapeHtml(`${label}: ${note}`);
    return (
      `<text x="${LABELS_WIDTH - 8}" y="${y + 14}" text-anchor="end">${escapeHtml(name)}</text>` +
      `<rect x="${x(fromMs)}" y="${y + 2}" width="${Math.max(2, x(toMs) - x(fromMs))}" height="${ROW - 6}" rx="2" ` +
      `fill="${color}"><title>${title}</title></rect>`
    );
  });
  const deadline = `<line x1="${x(report.windowMs)}" y1="${TOP - 6}" x2="${x(report.windowMs)}" y2="${height}" class="end"><title>end of the window</title></line>`;
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="timeline">${ticks.join('')}${rows.join('')}${deadline}</svg>`;
}

function phaseBars({ timeline, writtenMs }: DrainReport): Bar[] {
  return timeline.map(({ phase, atMs }, index) => {
    const toMs = Math.max(atMs, timeline[index + 1]?.atMs ?? writtenMs);
    return { label: phase, fromMs: atMs, toMs, color: COLORS.phase, note: formatDuration(toMs - atMs) };
  });
}

function hookBars({ hooks }: DrainReport): Bar[] {
  return hooks.flatMap(({ name, state, startedMs, durationMs }) =>
    startedMs === undefined || durationMs === undefined
      ? []
      : [
          {
            label: `hook ${name}`,
            fromMs: startedMs,
            toMs: startedMs + durationMs,
            color: colorOf(state, 'succeeded'),
            note: `${state} after ${formatDuration(durationMs)}`,
          },
        ],
  );
}

function setBars({ sets, writtenMs }: DrainReport): Bar[] {
  return sets.flatMap(({ name, state, startedMs, committedMs }) =>
    startedMs === undefined
      ? []
      : [
          {
            label: `set ${name}`,
            fromMs: startedMs,
            toMs: committedMs ?? writtenMs,
            color: colorOf(state, 'committed'),
            note: state,
          },
        ],
  );
}

function colorOf(state: string, good: string): string {
  if (state === good) return COLORS.good;
  return state === 'failed' ? COLORS.bad : COLORS.open;
}
