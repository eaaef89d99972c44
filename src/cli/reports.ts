import { systemClock } from '../base/clock.ts';
import { forEachLimit } from '../base/concurrency.ts';
import type { EvictdError } from '../base/errors.ts';
import { shownDeep } from '../base/shown.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import type { StoredReport } from '../checkpoint/retention/reports.ts';
import type { DrainReport } from '../observe/drain-report.ts';
import { lostSets } from '../observe/report-loss.ts';
import { type Command, EXIT, type OptionSpec } from './command.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION } from './options.ts';
import { KEY_OPTION, type StoredPlace, nothingFound, openStoredPlace } from './stored-place.ts';
import { tableText } from './text-table.ts';

const READS_IN_FLIGHT = 8;
const LISTED_MAX = 1000;

/** Whose reports. */
export const WHOSE_OPTIONS: readonly OptionSpec[] = [
  {
    ...KEY_OPTION,
    description: "whose reports, by its key in the store (default: this VM's, by checkpoint.key)",
  },
  { name: 'all-keys', description: 'the reports of all VMs that use this container and prefix' },
];

type Listed = { readonly key: string } & (
  | { readonly kind: 'usable'; readonly report: DrainReport }
  | { readonly kind: 'unusable'; readonly eventId: string; readonly detail: string }
);

export const reportsCommand: Command = {
  name: 'reports',
  summary: 'list what became of evictions: how long each had, and what was lost',
  description:
    'Each drain leaves a report in the store before it acknowledges, so that it outlives the VM. From any machine ' +
    'with access to the store; the newest 1,000, the newest first.\n\nExit code 3 when there is none.',
  manual:
    'Examples:\n' +
    '  evictd reports --all-keys                       # evictions of the whole fleet\n' +
    '  evictd reports show                             # the newest of this VM\n' +
    '  evictd reports show 602d9444 --html report.html',
  options: [...WHOSE_OPTIONS, CONFIG_OPTION, IMDS_OPTION, JSON_OPTION],
  async run(invocation) {
    const { options, out, signal } = invocation;
    await using place = await openStoredPlace(invocation, systemClock);
    const found = await findReports(place, options['all-keys'] === true, signal);
    const listed = await readAll(place, found.slice(0, LISTED_MAX), signal);
    if (options['json'] === true) out.write(`${JSON.stringify({ reports: listed })}\n`);
    else if (listed.length > 0) out.write(reportTable(shownDeep(listed)));
    else throw noReport('no report', place);
    return listed.length === 0 ? EXIT.nothing : EXIT.done;
  },
};

export function noReport(what: string, place: StoredPlace): EvictdError {
  const remedy =
    place.key === ''
      ? 'each drain leaves one in the store of its config: is checkpoint.store.url the same?'
      : '`evictd reports --all-keys` lists those of all VMs; --key names one';
  return nothingFound(what, place, remedy);
}

/** The newest first. */
export async function findReports(
  { store, prefix, key }: StoredPlace,
  isAllKeys: boolean,
  signal: AbortSignal,
): Promise<StoredReport[]> {
  const { findReportKeys, listReports } = await import('../checkpoint/retention/reports.ts');
  const keys = isAllKeys ? await findReportKeys(store, prefix, signal) : [key];
  const found: StoredReport[] = [];
  await forEachLimit(keys, READS_IN_FLIGHT, signal, async (one, inner) => {
    found.push(...(await listReports(store, { prefix, key: one }, inner)));
  });
  return found.toSorted((one, other) => other.modifiedAt - one.modifiedAt);
}

async function readAll(
  { store, prefix }: StoredPlace,
  found: readonly StoredReport[],
  signal: AbortSignal,
): Promise<readonly Listed[]> {
  const { readReport } = await import('../checkpoint/retention/reports.ts');
  const { parseReport } = await import('../observe/drain-report.ts');
  const listed = new Map<StoredReport, Listed>();
  await forEachLimit(found, READS_IN_FLIGHT, signal, async (one, inner) => {
    const { key, eventId } = one;
    const parsed = parseReport(await readReport(store, { prefix, key }, eventId, inner));
    listed.set(
      one,
      typeof parsed === 'string'
        ? { key, kind: 'unusable', eventId, detail: parsed }
        : { key, kind: 'usable', report: parsed },
    );
  });
  return found.flatMap((one) => listed.get(one) ?? []);
}

export function reportTable(listed: readonly Listed[]): string {
  return tableText(
    ['NOTICED', 'KEY', 'VM', 'TYPE', 'WINDOW', 'USED', 'OUTCOME', 'LOST', 'EVENT'],
    listed.map((one) =>
      one.kind === 'unusable'
        ? ['', one.key, `unusable: ${one.eventId}: ${one.detail}`]
        : [
            one.report.noticedAt,
            one.key,
            one.report.vmName ?? '?',
            one.report.eventType,
            formatDuration(one.report.windowMs),
            formatDuration(one.report.writtenMs),
            one.report.outcome,
            lossInShort(one.report),
            one.report.eventId,
          ],
    ),
  );
}

/** `-`, or the sets that were not committed with what of them was only on the VM. */
function lossInShort(report: DrainReport): string {
  const lost = lostSets(report);
  if (lost.length === 0) return '-';
  return lost
    .map(({ name, bytesNotStored }) =>
      bytesNotStored === undefined ? `${name} (?)` : `${name} (${formatSize(bytesNotStored)})`,
    )
    .join(', ');
}
