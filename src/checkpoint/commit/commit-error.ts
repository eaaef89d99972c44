import { EvictdError, errnoOf, messageOf } from '../../base/errors.ts';
import { formatDuration } from '../../base/units.ts';
import type { SetEntry } from '../format/manifest.ts';

const OTHER_REMEDY =
  'give each VM its own checkpoint.key, or stop the other writer; then restart evictd here, or run ' +
  '`evictd checkpoint --take-over`';

/** Two writers of one set. Names of VMs are for people only: two containers share them. */
export function conflict(set: string, entry: SetEntry): EvictdError {
  const { vmName, vmId } = entry.writer;
  const what = entry.kind === 'takeover' ? 'took the set over' : `made checkpoint ${entry.id}`;
  return new EvictdError(
    'conflict',
    `another writer works on the same checkpoints: VM ${vmName} (${vmId}), process ${entry.process}, ${what} of ${set} at ${entry.createdAt}`,
    { remedy: OTHER_REMEDY },
  );
}

/** For the log, when the writer before said no goodbye. */
export function tookOver(set: string, { writer, id, createdAt }: SetEntry, nowMs: number): EvictdError {
  const ageMs = nowMs - Date.parse(createdAt);
  const age = ageMs >= 0 ? `${formatDuration(ageMs)} ago` : `at ${createdAt}`;
  return new EvictdError(
    'took-over',
    `took ${set} over from VM ${writer.vmName} (${writer.vmId}), whose newest entry ${id} was written ${age}; if that VM still runs, it has a conflict now`,
    { remedy: OTHER_REMEDY },
  );
}

/** Writers that take it over from each other at their starts. */
export function busySet(set: string): EvictdError {
  return new EvictdError('busy-set', `other writers go on taking ${set} over`, {
    remedy: 'give each VM its own checkpoint.key',
  });
}

/** An account that failed over to an older state, or somebody's hand. */
export function storeWentBack(set: string, known: string, found: string | undefined): EvictdError {
  const has = found === undefined ? 'has no entry any more' : `has only ${found}`;
  return new EvictdError(
    'store-went-back',
    `the store had entry ${known} of ${set}, and ${has}: what is missing there is sent again`,
    {
      remedy: 'find out who removes blobs below checkpoint.store.url: a lifecycle rule, a failover, a person',
    },
  );
}

/** Paths may be many: the first ones stand for all. */
export function named(paths: readonly string[]): string {
  const more = paths.length > 3 ? ` and ${paths.length - 3} more` : '';
  return `${paths
    .slice(0, 3)
    .map((path) => JSON.stringify(path))
    .join(', ')}${more}`;
}

/** The checkpoint `id` is there, but without what these entries hold now. */
export function entriesLost(id: string, lost: ReadonlyMap<string, EvictdError>): EvictdError {
  const [first] = lost.values();
  const more =
    lost.size > 1
      ? ` (and ${lost.size - 1} more that can't be had: ${named([...lost.keys()].slice(1))})`
      : '';
  const { code = 'file-changing', message = '', remedy } = first ?? {};
  return new EvictdError(
    code,
    `${message}${more}; checkpoint ${id} has all else, and of these what could be read last, if anything`,
    { ...(remedy !== undefined && { remedy }), cause: first },
  );
}

/** There was no time for more, or no way. */
export function onlyPartial(id: string, { code, message, remedy }: EvictdError): EvictdError {
  const text = `${message}; the partial checkpoint ${id} has the files that were stored by then, and the others as before`;
  return new EvictdError(code, text, remedy === undefined ? {} : { remedy });
}

/** Not an error of the checkpoint: it is there, but its entries are not all of the same moment. */
export function entriesChanging(root: string, paths: readonly string[]): EvictdError {
  return new EvictdError(
    'files-changing',
    `${named(paths)} in ${root} went on changing: the checkpoint has each as it was at a moment of its own`,
    { remedy: 'stop the writer by a before-checkpoint hook, if the files have to fit together' },
  );
}

/** A file that can't be had in one consistent version. */
export function fileChanging(root: string, path: string): EvictdError {
  return new EvictdError('file-changing', `${named([path])} in ${root} keeps changing while it is read`, {
    remedy:
      'stop its writer by a before-checkpoint hook, or replace the file atomically (write beside it, rename)',
  });
}

/** Not an error of the checkpoint: it is what there is. But a folder may also be empty by mistake. */
export function folderEmptied(
  root: string,
  before: { readonly id: string; readonly files: number },
): EvictdError {
  return new EvictdError(
    'folder-emptied',
    `${root} has no files any more, so the checkpoint has none; ${before.id} had ${before.files}`,
    { remedy: `if that is not as it should be: evictd restore --at ${before.id}` },
  );
}

/** Of a file that was moved from one to another while both were looked at, neither may have told. */
export function entriesMoving(root: string, folders: readonly string[]): EvictdError {
  return new EvictdError(
    'entries-moving',
    `names in ${named(folders)} of ${root} changed during each look: a file that was moved between them may be missing`,
    { remedy: 'stop the writer by a before-checkpoint hook' },
  );
}

/** Whatever broke after the abort broke because of it. */
export function explained(error: unknown, signal: AbortSignal): EvictdError {
  const cause: unknown = signal.aborted ? signal.reason : error;
  if (cause instanceof EvictdError) return cause;
  if (signal.aborted) return new EvictdError('aborted', messageOf(cause), { cause });
  if (/^E[A-Z0-9]+$/.test(errnoOf(cause) ?? ''))
    return new EvictdError('file-failed', messageOf(cause), { cause });
  // One set's defect must not cost the others their time before an eviction: it is told, and nothing is acknowledged.
  const place = cause instanceof Error ? (cause.stack?.match(/^ {4}at .*$/m)?.[0].trim() ?? '') : '';
  return new EvictdError('internal', `a defect of evictd: ${messageOf(cause)} ${place}`.trimEnd(), {
    remedy: 'report it with this line; the next attempt begins anew',
    cause,
  });
}
