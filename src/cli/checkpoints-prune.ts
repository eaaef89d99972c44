import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatCount, formatSize } from '../base/units.ts';
import type { PruneResult } from '../checkpoint/retention/prune.ts';
import { ANY_SET_OPTION, STORE_OPTIONS, setsOf } from './checkpoints-set.ts';
import { type Command, EXIT } from './command.ts';
import { reportFailure } from './failure.ts';
import { openStoredPlace } from './stored-place.ts';

export const checkpointsPruneCommand: Command = {
  name: 'checkpoints prune',
  summary: 'remove all but the newest checkpoints from the store',
  description:
    'Of each set, those of checkpoint.keep stay; in any case what is younger than an hour, what `evictd checkpoints ' +
    'keep` keeps or somebody restores, the newest that has files and the newest that is whole. Then the packs go that ' +
    'no checkpoint needs. The daemon does the same after each checkpoint outside of a drain. Safe while checkpoints ' +
    'are taken and restored, from any machine. An account with soft delete or versions keeps and bills what is ' +
    'deleted: it is said how much.\n\nExit code 3 when there is nothing to remove.',
  options: [
    ANY_SET_OPTION,
    { name: 'dry-run', description: 'only say what would be removed' },
    ...STORE_OPTIONS,
  ],
  async run(invocation) {
    const { options, out, err, signal } = invocation;
    const { pruneSet } = await import('../checkpoint/retention/prune.ts');
    await using place = await openStoredPlace(invocation, systemClock);
    const { store, prefix, key, checkpoint } = place;
    const dryRun = options['dry-run'] === true;
    const results: PruneResult[] = [];
    let isFailed = false;
    for (const set of await setsOf(place, invocation)) {
      try {
        const prune = { place: { prefix, key, set }, keep: checkpoint.keep, dryRun };
        results.push(await pruneSet(prune, { store }, signal));
      } catch (error) {
        // One set that can't be pruned must not keep the others.
        if (!(error instanceof EvictdError) || error.code !== 'prune-blocked') throw error;
        reportFailure(error, err);
        isFailed = true;
      }
    }
    if (options['json'] === true) out.write(`${JSON.stringify({ key, dryRun, sets: results })}\n`);
    else for (const result of results) out.write(describe(result, dryRun));
    if (isFailed) return EXIT.failed;
    return results.some(isSomething) ? EXIT.done : EXIT.nothing;
  },
};

function isSomething({ removed, packs }: PruneResult): boolean {
  return removed.length > 0 || packs > 0;
}

function describe(result: PruneResult, dryRun: boolean): string {
  const { set, removed, packs, bytes, bytesRetained, held, refused, packsRefused, end } = result;
  const what = removed.length === 0 ? 'no checkpoint' : `checkpoints ${removed.join(', ')}`;
  const whole = isSomething(result)
    ? `${dryRun ? 'would remove' : 'removed'} ${what} and ${formatCount(packs, 'pack')}, ${formatSize(bytes)}`
    : 'nothing to remove';
  const notes = [
    ...(held.length > 0 ? [`${held.join(', ')} stay: kept, or being restored`] : []),
    ...(refused.length > 0 ? [`${refused.join(', ')} stay: the container doesn't let them go`] : []),
    ...(packsRefused > 0
      ? [`${formatCount(packsRefused, 'pack')} stay: the container doesn't let them go`]
      : []),
    ...(bytesRetained > 0 ? [`the account keeps ${formatSize(bytesRetained)} of that, and bills it`] : []),
    ...(end === 'changed' ? ['ended early, since somebody wrote or restores: try again'] : []),
  ];
  return [whole, ...notes].map((line) => `${set}: ${line}\n`).join('');
}
