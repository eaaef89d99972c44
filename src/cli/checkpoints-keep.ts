import { hostname } from 'node:os';

import { systemClock } from '../base/clock.ts';
import { ONE_SET_OPTION, STORE_OPTIONS, idArgument, onlySetOf } from './checkpoints-set.ts';
import { checkpointId } from './options.ts';
import { type Command, EXIT } from './command.ts';
import { openStoredPlace } from './stored-place.ts';

export const checkpointsKeepCommand: Command = {
  name: 'checkpoints keep',
  summary: 'keep a checkpoint from being pruned',
  description:
    'Until --release, whatever checkpoint.keep says, on all machines. What a rule of the account deletes goes all the ' +
    'same.\n\nExit code 3 when there is nothing to do: it is kept already, or was not.',
  positionals: [idArgument('id', 'of the checkpoint; `evictd checkpoints` lists them', true)],
  options: [{ name: 'release', description: 'let it be pruned again' }, ONE_SET_OPTION, ...STORE_OPTIONS],
  async run(invocation) {
    const { options, positionals, out, signal } = invocation;
    const { keepCheckpoint, releaseCheckpoint } = await import('../checkpoint/retention/holds.ts');
    await using opened = await openStoredPlace(invocation, systemClock);
    const place = await onlySetOf(opened, invocation);
    const [id = ''] = positionals.map(checkpointId);
    const kept = options['release'] !== true;
    const isDone = kept
      ? await keepCheckpoint(place, id, `evictd checkpoints keep, on ${hostname()}`, opened, signal)
      : await releaseCheckpoint(place, id, opened, signal);
    const { key, set } = place;
    if (options['json'] === true) out.write(`${JSON.stringify({ key, set, id, kept, changed: isDone })}\n`);
    else if (kept) {
      out.write(`${set} ${id} ${isDone ? 'is kept from now on' : 'is kept already'}; --release ends that\n`);
    } else out.write(`${set} ${id} ${isDone ? 'is kept no longer' : 'was not kept'}\n`);
    return isDone ? EXIT.done : EXIT.nothing;
  },
};
