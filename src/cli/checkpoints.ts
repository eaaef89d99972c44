import { systemClock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import type { ListedCheckpoint } from '../checkpoint/list.ts';
import { type Command, EXIT } from './command.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION, textOption } from './options.ts';
import { KEY_OPTION, type StoredPlace, nothingFound, openStoredPlace } from './stored-place.ts';
import { tableText } from './text-table.ts';

export const checkpointsCommand: Command = {
  name: 'checkpoints',
  summary: 'list the checkpoints that are in the store',
  description: 'By set, the newest first.\n\nExit code 3 when there is none.',
  options: [
    { name: 'set', value: 'NAME', description: 'only this set (default: all that are in the store)' },
    KEY_OPTION,
    CONFIG_OPTION,
    IMDS_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, out, signal } = invocation;
    const { listCheckpoints } = await import('../checkpoint/list.ts');
    using place = await openStoredPlace(invocation, systemClock);
    const { store, prefix, key } = place;
    const set = textOption(options, 'set');
    const checkpoints = await listCheckpoints(
      { prefix, key, ...(set === undefined ? {} : { set }) },
      { store },
      signal,
    );
    if (options['json'] === true) out.write(`${JSON.stringify({ key, checkpoints })}\n`);
    else if (checkpoints.length > 0) out.write(checkpointTable(checkpoints));
    else throw noCheckpoint(place, set);
    return checkpoints.length === 0 ? EXIT.nothing : EXIT.done;
  },
};

export function noCheckpoint(place: StoredPlace, set: string | undefined): EvictdError {
  const what = set === undefined ? 'no checkpoint' : `no checkpoint of a set ${JSON.stringify(set)}`;
  const all = set === undefined ? '' : '; without --set all sets are looked at';
  return nothingFound(what, place, `--key names another VM${all}`);
}

function checkpointTable(checkpoints: readonly ListedCheckpoint[]): string {
  const header = ['SET', 'ID', 'CREATED', 'REASON', 'FILES', 'SIZE', 'SENT', 'VM'];
  const rows = checkpoints.map((one) =>
    one.kind === 'unusable'
      ? [one.set, one.id, `unusable: ${one.detail}`]
      : [
          one.set,
          one.id,
          one.createdAt,
          one.reason,
          String(one.files),
          formatSize(one.bytes),
          formatSize(one.bytesSent),
          one.vmName,
        ],
  );
  return tableText(header, rows);
}
