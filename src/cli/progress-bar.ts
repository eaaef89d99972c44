import type { Clock } from '../base/clock.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import type { Invocation, Output } from './command.ts';

/** How much of the work is done. */
export interface Progress {
  readonly bytes: number;
  readonly bytesTotal: number;
}

export interface ProgressBar extends Disposable {
  show(progress: Progress): void;
}

const REDRAW_MS = 200;
/** The rate is that of the last while, as a disk's or a network's changes. */
const RATE_WINDOW_MS = 5000;
const BAR_CELLS = 20;
const CLEAR_LINE = '\r\u001B[K';

/** On a terminal, for a person: not with --json or NO_COLOR. */
export function canShowBar({ err, env, options }: Pick<Invocation, 'err' | 'env' | 'options'>): boolean {
  return err.isTerminal && options['json'] !== true && (env['NO_COLOR'] ?? '') === '';
}

/** One line on a terminal that is drawn again and again, and is gone once disposed. */
export function createProgressBar(name: string, out: Output, clock: Clock): ProgressBar {
  const samples: Sample[] = [];
  let drawnAt = -Infinity;
  return {
    show(progress) {
      const now = clock.monotonicMs();
      if (now - drawnAt < REDRAW_MS) return;
      drawnAt = now;
      samples.push({ atMs: now, bytes: progress.bytes });
      while (now - (samples[0]?.atMs ?? now) > RATE_WINDOW_MS) samples.shift();
      out.draw(`${CLEAR_LINE}${progressLine(name, progress, rateOf(samples))}`);
    },
    [Symbol.dispose]() {
      if (drawnAt !== -Infinity) out.draw(CLEAR_LINE);
    },
  };
}

/** What the bar says; `bytesPerSecond` is undefined until it is known. Fits into 80 columns with a short name. */
export function progressLine(
  name: string,
  { bytes, bytesTotal }: Progress,
  bytesPerSecond: number | undefined,
): string {
  const share = bytesTotal === 0 ? 1 : Math.min(1, Math.max(0, bytes / bytesTotal));
  const full = Math.floor(share * BAR_CELLS);
  const bar = `[${'#'.repeat(full)}${'.'.repeat(BAR_CELLS - full)}]`;
  const percent = `${String(Math.floor(share * 100)).padStart(3)}%`;
  const parts = [`${name} ${bar} ${percent}`, `${formatSize(bytes)} of ${formatSize(bytesTotal)}`];
  if (bytesPerSecond !== undefined && bytesPerSecond > 0) {
    parts.push(`${formatSize(Math.round(bytesPerSecond))}/s`);
    parts.push(`${formatDuration(((bytesTotal - bytes) / bytesPerSecond) * 1000)} left`);
  }
  return parts.join('  ');
}

interface Sample {
  readonly atMs: number;
  readonly bytes: number;
}

function rateOf(samples: readonly Sample[]): number | undefined {
  const [first] = samples;
  const last = samples.at(-1);
  if (first === undefined || last === undefined || last.atMs === first.atMs) return undefined;
  return ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1000;
}
