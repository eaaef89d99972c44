import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import type { RestoreResult } from '../checkpoint/restore.ts';
import type { Checkpoint } from '../config/schema.ts';
import { type Command, EXIT } from './command.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION, textOption } from './options.ts';
import { KEY_OPTION, openStoredPlace } from './stored-place.ts';

export const restoreCommand: Command = {
  name: 'restore',
  summary: 'bring a checkpoint back into a folder',
  description:
    'Takes the newest complete checkpoint of the set (or the one of --at), verifies every block and puts each ' +
    'file in place as a whole. Files that are there and identical are kept; others that the checkpoint lacks are ' +
    'left alone.\n\nExit code 3 when there is no checkpoint.',
  options: [
    {
      name: 'to',
      value: 'DIR',
      description: 'folder to restore into; made where it is missing',
      required: true,
    },
    { name: 'set', value: 'NAME', description: 'which set (default: the only one of the configuration)' },
    KEY_OPTION,
    {
      name: 'at',
      value: 'ID',
      description: 'a certain checkpoint; `evictd checkpoints` lists them (default: the newest)',
    },
    CONFIG_OPTION,
    IMDS_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, out, signal } = invocation;
    const { restore } = await import('../checkpoint/restore.ts');
    using place = await openStoredPlace(invocation, systemClock);
    const { store, prefix, key, checkpoint } = place;
    const set = textOption(options, 'set') ?? onlySet(checkpoint);
    const target = textOption(options, 'to') ?? '.';
    const at = textOption(options, 'at');
    const result = await restore(
      { prefix, key, set, target, ...(at === undefined ? {} : { at }) },
      { store, clock: systemClock },
      signal,
    );
    out.write(
      options['json'] === true
        ? `${JSON.stringify({ set, key, target, ...result })}\n`
        : describeResult(set, target, result),
    );
    return EXIT.done;
  },
};

function onlySet({ sets }: Checkpoint): string {
  const [first, ...others] = sets;
  if (first !== undefined && others.length === 0) return first.name;
  const names = sets.map(({ name }) => name).join(', ');
  throw new EvictdError(
    'usage',
    first === undefined ? 'the configuration has no set' : `the configuration has ${sets.length} sets`,
    { remedy: `say which one with --set NAME${names === '' ? '' : ` (${names})`}` },
  );
}

function describeResult(set: string, target: string, result: RestoreResult): string {
  const { id, createdAt, files, filesKept, bytes, bytesFetched, durationMs } = result;
  const kept = filesKept === 0 ? '' : `, ${filesKept} of them already there`;
  return (
    `restored ${set} ${id} of ${createdAt} to ${target}: ${files} files${kept}, ` +
    `${formatSize(bytes)} (${formatSize(bytesFetched)} fetched) in ${formatDuration(durationMs)}\n`
  );
}
