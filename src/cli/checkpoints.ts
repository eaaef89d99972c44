import { systemClock } from '../base/clock.ts';
import { formatSize } from '../base/units.ts';
import type { ListedCheckpoint } from '../checkpoint/retention/list.ts';
import { ANY_SET_OPTION, STORE_OPTIONS, noCheckpoint } from './checkpoints-set.ts';
import { type Command, EXIT } from './command.ts';
import { textOption } from './options.ts';
import { shownText } from '../base/shown.ts';
import { openStoredPlace } from './stored-place.ts';
import { tableText } from './text-table.ts';

export const checkpointsCommand: Command = {
  name: 'checkpoints',
  summary: 'list the checkpoints that are in the store',
  description:
    'By set, the newest first. NOTES says what one lacks: `partial` was made at a deadline with what was stored by ' +
    'then, `lost` are entries that could not be read, `changing` those that were being written to. `kept` is one that ' +
    '`evictd checkpoints keep` keeps, `restoring` one that is being restored.\n\nExit code 3 when there is none.',
  options: [ANY_SET_OPTION, ...STORE_OPTIONS],
  async run(invocation) {
    const { options, out, signal } = invocation;
    const { listCheckpoints } = await import('../checkpoint/retention/list.ts');
    await using place = await openStoredPlace(invocation, systemClock);
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

function checkpointTable(checkpoints: readonly ListedCheckpoint[]): string {
  const header = ['SET', 'ID', 'CREATED', 'REASON', 'FILES', 'SIZE', 'SENT', 'VM', 'NOTES'];
  const rows = checkpoints.map((one) =>
    one.kind === 'unusable'
      ? [one.set, one.id, `unusable: ${shownText(one.detail)}`]
      : [
          one.set,
          one.id,
          one.createdAt,
          shownText(one.reason),
          String(one.files),
          formatSize(one.bytes),
          formatSize(one.bytesSent),
          shownText(one.vmName),
          notesOf(one),
        ],
  );
  return tableText(header, rows);
}

function notesOf({ partial, lost, changing, held }: Extract<ListedCheckpoint, { kind: 'usable' }>): string {
  return [
    ...(partial ? ['partial'] : []),
    ...(lost > 0 ? [`${lost} lost`] : []),
    ...(changing > 0 ? [`${changing} changing`] : []),
    ...(held === null ? [] : [held === 'keep' ? 'kept' : 'restoring']),
  ].join(', ');
}
