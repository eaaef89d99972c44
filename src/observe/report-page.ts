import { shownText } from '../base/shown.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import type { DrainReport } from './drain-report.ts';
import { escapeHtml } from './escape-html.ts';
import { readableLine } from './readable-line.ts';
import { hooksOf, lossOf } from './report-loss.ts';
import { timelinePicture } from './report-timeline.ts';

const STYLE = `
:root { color-scheme: light dark; --text: light-dark(#1c2024, #edeef0); --dim: light-dark(#60646c, #b0b4ba);
  --line: light-dark(#d9d9e0, #43484e); --sunken: light-dark(#f6f6f8, #212225);
  --good: light-dark(#18794e, #3dd68c); --bad: light-dark(#c62a2f, #ff9592) }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: var(--text); background: light-dark(#fff, #18191b) }
h1 { font-size: 1.4rem; margin-bottom: .2rem } h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem }
.good { color: var(--good) } .bad { color: var(--bad) } .dim { color: var(--dim) } .wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .25rem .8rem .25rem 0; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid var(--line); white-space: nowrap } td:not(:last-child) { white-space: nowrap } td:last-child { overflow-wrap: anywhere; min-width: 12rem }
pre { font: 12px/1.4 ui-monospace, monospace; background: var(--sunken); padding: .8rem; overflow-x: auto }
svg { width: 100%; min-width: 40rem; height: auto; display: block } svg text { font: 12px system-ui, sans-serif; fill: var(--text) }
svg .tick { stroke: var(--line) } svg .end { stroke: var(--bad); stroke-dasharray: 4 3 }
`;

/** What is said of a drain that was none, in place of its outcome and of what was lost. */
export interface Rehearsed {
  readonly title: string;
  readonly verdict: string;
  readonly lines: readonly string[];
}

/**
 * The report of a drain as one page that needs nothing else: no script, no font, no picture from elsewhere.
 * Everything in it is text, whatever it looks like.
 */
export function reportPage(report: DrainReport, rehearsed?: Rehearsed): string {
  const { eventType, eventId, vmName, noticedAt, outcome, windowMs, writtenMs, log } = report;
  const what = `${rehearsed === undefined ? '' : `${rehearsed.title}: `}${eventType} of ${vmName ?? 'an unknown VM'}`;
  const verdict = rehearsed?.verdict ?? outcome;
  const title = `${what}: ${verdict}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(what)}: <span class="${tone(outcome === 'success')}">${escapeHtml(verdict)}</span></h1>
<p class="dim">Event ${escapeHtml(eventId)}, noticed ${escapeHtml(noticedAt)}; ${escapeHtml(formatDuration(writtenMs))} of ${escapeHtml(formatDuration(windowMs))} used when this was written, before the acknowledgement; evictd ${escapeHtml(report.evictdVersion)}</p>
${(rehearsed?.lines ?? [lossOf(report)]).map((line) => `<p>${escapeHtml(line)}</p>`).join('')}
<div class="wide">${timelinePicture(report)}</div>
<h2>Hooks</h2>${table(
    ['Hook', 'Stage', 'Result', 'Time', 'Why'],
    hooksOf(report).map(({ name, stage, state, attempt, required, durationMs, detail }) => [
      name + (required ? '' : ' (optional)'),
      stage,
      state + (attempt > 1 ? `, attempt ${attempt}` : ''),
      durationMs === undefined ? '' : formatDuration(durationMs),
      detail ?? '',
    ]),
  )}
<h2>Checkpoints</h2>${table(
    ['Set', 'Result', 'Files', 'Size', 'Sent', 'Newest checkpoint', 'Why'],
    report.sets.map((set) => [
      set.name,
      set.state + (set.attempt > 1 ? `, attempt ${set.attempt}` : ''),
      String(set.files),
      formatSize(set.bytes),
      set.bytesSent === undefined ? '' : formatSize(set.bytesSent),
      set.lastCheckpoint === undefined ? 'none' : `${set.lastCheckpoint.id}, ${set.lastCheckpoint.at}`,
      set.detail ?? '',
    ]),
  )}
<h2>Events</h2>${table(
    ['Event', 'Acknowledgement when this was written'],
    report.acks.map(({ eventId: id, ack }) => [id, ack]),
  )}
<h2>Last lines of the log</h2><pre>${log.map((line) => escapeHtml(shownText(readableLine(line)))).join('\n')}</pre>
</body></html>
`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '<p class="dim">none</p>';
  const cells = (row: readonly string[], tag: 'th' | 'td') =>
    `<tr>${row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`;
  return `<div class="wide"><table>${cells(head, 'th')}${rows.map((row) => cells(row, 'td')).join('')}</table></div>`;
}

function tone(isGood: boolean): string {
  return isGood ? 'good' : 'bad';
}
