import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatCount } from '../base/units.ts';
import type { PruneResult } from '../checkpoint/prune.ts';
import { noCheckpoint } from './checkpoints.ts';
import { type Command, EXIT } from './command.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION, textOption } from './options.ts';
import { KEY_OPTION, openStoredPlace } from './stored-place.ts';

export const checkpointsPruneCommand: Command = {
  name: 'checkpoints prune',
  summary: 'remove all but the newest checkpoints from the store',
  description:
    'Of each set, checkpoint.keep stay, and in any case the newest that has files. The daemon does the same after ' +
    'each checkpoint outside of a drain; this also removes what an interrupted removal has left. Safe while ' +
    'checkpoints are taken; a restore of a checkpoint that is being removed fails.\n\nExit code 3 when there is nothing to remove.',
  options: [
    { name: 'set', value: 'NAME', description: 'only this set (default: all that are in the store)' },
    KEY_OPTION,
    { name: 'dry-run', description: 'only say what would be removed' },
    CONFIG_OPTION,
    IMDS_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, out, err, signal } = invocation;
    const { listCheckpointNames } = await import('../checkpoint/list.ts');
    const { pruneSet } = await import('../checkpoint/prune.ts');
    using place = await openStoredPlace(invocation, systemClock);
    const { store, prefix, key, checkpoint } = place;
    const only = textOption(options, 'set');
    const names = await listCheckpointNames(
      { prefix, key, ...(only === undefined ? {} : { set: only }) },
      { store },
      signal,
    );
    const dryRun = options['dry-run'] === true;
    const results: PruneResult[] = [];
    let isFailed = false;
    for (const set of new Set(names.map((one) => one.set))) {
      try {
        const more = { keep: checkpoint.keep, dryRun, sweep: true };
        results.push(await pruneSet({ prefix, key, set, ...more }, { store }, signal));
      } catch (error) {
        // One set that can't be pruned must not keep the others.
        if (!(error instanceof EvictdError) || error.code !== 'prune-blocked') throw error;
        err.write(`evictd: ${error.message}; ${error.remedy ?? ''}\n`);
        isFailed = true;
      }
    }
    if (options['json'] === true) out.write(`${JSON.stringify({ key, dryRun, sets: results })}\n`);
    else if (names.length === 0) throw noCheckpoint(place, only);
    else for (const result of results) out.write(describe(result, dryRun));
    if (isFailed) return EXIT.failed;
    return results.some(isSomething) ? EXIT.done : EXIT.nothing;
  },
};

function isSomething({ removed, blobs }: PruneResult): boolean {
  return removed.length > 0 || blobs > 0;
}

function describe(result: PruneResult, dryRun: boolean): string {
  const { set, removed, snapshots, blobs } = result;
  if (!isSomething(result)) return `${set}: nothing to remove\n`;
  const what = removed.length === 0 ? 'no checkpoint' : `checkpoints ${removed.join(', ')}`;
  return `${set}: ${dryRun ? 'would remove' : 'removed'} ${what}, ${formatCount(snapshots, 'snapshot')}, ${formatCount(blobs, 'blob')}\n`;
}
