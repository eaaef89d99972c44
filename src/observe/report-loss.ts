import { formatDuration, formatSize } from '../base/units.ts';
import type { DrainReport, SetReport } from './drain-report.ts';

/** One sentence: what went with the VM. */
export function lossOf(report: DrainReport): string {
  const lost = lostSets(report);
  if (report.sets.length === 0) return 'No checkpoint is configured.';
  if (lost.length === 0) return 'Nothing was lost: every set is committed.';
  return `NOT SAVED: ${lost.map((set) => lossOfSet(report, set)).join('; ')}.`;
}

/** For example `job (1.2 GiB not stored, last checkpoint 5 min 2 s before the notice)`. */
function lossOfSet(report: Pick<DrainReport, 'noticedAt'>, set: SetReport): string {
  const ageMs = checkpointAgeMs(report, set);
  const bytes =
    set.bytesNotStored === undefined ? 'size unknown' : `${formatSize(set.bytesNotStored)} not stored`;
  const last =
    ageMs === undefined
      ? 'no checkpoint at all'
      : `last checkpoint ${formatDuration(ageMs)} before the notice`;
  return `${set.name} (${bytes}, ${last})`;
}

/** The sets that this drain did not save: what changed since their last checkpoint is gone with the VM. */
export function lostSets(report: Pick<DrainReport, 'sets'>): readonly SetReport[] {
  return report.sets.filter(({ state }) => state !== 'committed');
}

/** How old the newest checkpoint of a set was at the notice, in ms; undefined without one. */
function checkpointAgeMs(
  { noticedAt }: Pick<DrainReport, 'noticedAt'>,
  { lastCheckpoint }: SetReport,
): number | undefined {
  if (lastCheckpoint === undefined) return undefined;
  return Math.max(0, Date.parse(noticedAt) - Date.parse(lastCheckpoint.at));
}

/** Without those that run only if the VM lives on: when the report is written, nobody knows. */
export function hooksOf({ hooks }: Pick<DrainReport, 'hooks'>): DrainReport['hooks'] {
  return hooks.filter(({ stage, state }) => stage !== 'on-resume' || state !== 'pending');
}
