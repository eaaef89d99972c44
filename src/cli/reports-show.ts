import { writeFile } from 'node:fs/promises';

import { systemClock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { shownDeep } from '../base/shown.ts';
import { formatCount, formatDuration, formatSize } from '../base/units.ts';
import type { DrainReport } from '../observe/drain-report.ts';
import { hooksOf, lossOf } from '../observe/report-loss.ts';
import { type Command, EXIT } from './command.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION, textOption } from './options.ts';
import { WHOSE_OPTIONS, findReports, noReport } from './reports.ts';
import { openStoredPlace } from './stored-place.ts';

export const reportsShowCommand: Command = {
  name: 'reports show',
  summary: 'show the report of one eviction',
  description:
    'What happened when, what was saved and what was lost, and the last lines of the log.\n\n' +
    'Exit code 3 when there is no such report.',
  positionals: [
    { name: 'id', description: "the event's id, or its beginning; default: the newest", required: false },
  ],
  options: [
    { name: 'html', value: 'FILE', description: 'write it as one self-contained page with a timeline' },
    ...WHOSE_OPTIONS,
    CONFIG_OPTION,
    IMDS_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, positionals, out, signal } = invocation;
    const { readReport } = await import('../checkpoint/retention/reports.ts');
    const { parseReport } = await import('../observe/drain-report.ts');
    await using place = await openStoredPlace(invocation, systemClock);
    const wanted = positionals[0]?.toLowerCase() ?? '';
    const found = await findReports(place, options['all-keys'] === true, signal);
    const one = found.find(({ eventId }) => eventId.toLowerCase().startsWith(wanted));
    if (one === undefined) {
      const which = ` of an event that begins with ${JSON.stringify(wanted)}`;
      throw noReport(`no report${wanted === '' ? '' : which}`, place);
    }
    const { store, prefix } = place;
    const report = parseReport(await readReport(store, { prefix, key: one.key }, one.eventId, signal));
    if (typeof report === 'string') {
      throw new EvictdError('bad-report', `the report of ${one.eventId} can't be read: ${report}`, {
        remedy: 'it is of a newer evictd, or was changed',
      });
    }
    const html = textOption(options, 'html');
    if (html !== undefined) await writePage(html, report);
    if (options['json'] === true) out.write(`${JSON.stringify(report)}\n`);
    else if (html === undefined) {
      const { readableLine } = await import('../observe/readable-line.ts');
      out.write(reportText(shownDeep({ ...report, log: report.log.map(readableLine) })));
    }
    return EXIT.done;
  },
};

async function writePage(file: string, report: DrainReport): Promise<void> {
  const { reportPage } = await import('../observe/report-page.ts');
  try {
    await writeFile(file, reportPage(report));
  } catch (error) {
    throw new EvictdError('not-written', `${file} can't be written: ${messageOf(error)}`, { cause: error });
  }
}

/** For a terminal. */
export function reportText(report: DrainReport): string {
  const { eventType, eventId, vmName, noticedAt, outcome, writtenMs, windowMs } = report;
  const used = `${formatDuration(writtenMs)} of ${formatDuration(windowMs)}`;
  const lines = [
    `${eventType} ${eventId} of ${vmName ?? 'an unknown VM'}`,
    `noticed ${noticedAt}: ${outcome}, ${used} used before the acknowledgement`,
    lossOf(report),
    '',
    ...timeline(report).map(({ atMs, text }) => `${formatDuration(atMs).padStart(12)}  ${text}`),
    ...report.acks.map(
      ({ eventId: id, ack }) => `${''.padStart(12)}  ack of ${id} when this was written: ${ack}`,
    ),
    '',
    'last lines of the log:',
    ...report.log,
  ];
  return `${lines.join('\n')}\n`;
}

interface Moment {
  readonly atMs: number;
  readonly text: string;
}

/** In the order in which it happened; what has no time comes last. */
function timeline(report: DrainReport): readonly Moment[] {
  const { timeline: phases, sets, writtenMs } = report;
  const [first = [], later = []] = [phases.slice(0, 1), phases.slice(1)].map((some) =>
    some.map(({ phase, atMs }) => ({ atMs, text: phase })),
  );
  const moments = [
    ...first,
    ...hooksOf(report).map(({ name, state, startedMs, durationMs = 0, reason, detail }) => ({
      atMs: startedMs === undefined ? writtenMs : startedMs + durationMs,
      text: [
        `  hook ${name} ${state}${startedMs === undefined ? '' : ` after ${formatDuration(durationMs)}`}`,
        ...(detail !== undefined ? [detail] : reason !== undefined ? [reason] : []),
      ].join(': '),
    })),
    ...sets.map(({ name, state, committedMs, id, files, bytes, bytesSent = 0, detail }) => ({
      atMs: committedMs ?? writtenMs,
      text:
        state === 'committed'
          ? `  set ${name} committed as ${id ?? ''}: ${formatCount(files ?? 0, 'file')}, ${formatSize(bytes)}, sent ${formatSize(bytesSent)}`
          : `  set ${name} ${state}${detail === undefined ? '' : `: ${detail}`}`,
    })),
    // What ends at the moment at which a phase begins is why that begins.
    ...later,
  ];
  return moments.toSorted((one, other) => one.atMs - other.atMs);
}
