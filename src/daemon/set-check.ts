import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { errnoOf, isErrno, messageOf } from '../base/errors.ts';
import { formatCount } from '../base/units.ts';
import { findAnyFile } from '../checkpoint/scan/any-file.ts';
import type { CheckpointSet } from '../config/schema-checkpoint.ts';
import type { Config } from '../config/schema.ts';

/** File systems that hang end the look, not the command. */
const CHECK_MS = 10_000;

/** What is odd about the folders of the sets on this machine, one sentence each. Never rejects; it takes 10 s at most. */
export async function setWarnings(
  { checkpoint }: Pick<Config, 'checkpoint'>,
  { clock }: { readonly clock: Clock },
): Promise<readonly string[]> {
  using bound = boundedSignal(clock, CHECK_MS);
  const { signal } = bound;
  const warnings: string[] = [];
  for (const set of checkpoint?.sets ?? []) {
    const warning = await abandonOn(signal, lookAt(set, signal)).catch((error: unknown) =>
      signal.aborted ? `${set.path} did not answer within ${CHECK_MS / 1000} s` : messageOf(error),
    );
    if (warning !== undefined) warnings.push(`checkpoint.sets "${set.name}": ${warning}`);
  }
  return warnings;
}

async function lookAt(set: CheckpointSet, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { isSaved, passedOver, isCut } = await findAnyFile(set, signal);
    if (isSaved) return undefined;
    if (passedOver === 0) return `${set.path} holds no file`;
    const files = `${isCut ? 'the first ' : ''}${formatCount(passedOver, 'file')}`;
    return `none of ${files} in ${set.path} fits include and exclude (patterns as in .gitignore), so nothing is saved`;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return `${set.path} is not there: nothing can be saved before it is`;
    if (isErrno(error, 'ENOTDIR')) return `${set.path} is no folder`;
    return `${set.path} can't be looked at (${errnoOf(error) ?? messageOf(error)})`;
  }
}
