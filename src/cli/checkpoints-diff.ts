import { systemClock } from '../base/clock.ts';
import { formatSize } from '../base/units.ts';
import type { TreeEntry } from '../checkpoint/format/tree/tree.ts';
import type { Change } from '../checkpoint/retention/diff.ts';
import { ONE_SET_OPTION, STORE_OPTIONS, idArgument, onlySetOf } from './checkpoints-set.ts';
import { entryJson } from './checkpoints-show.ts';
import { checkpointId } from './options.ts';
import { type Command, EXIT } from './command.ts';
import { shownText } from '../base/shown.ts';
import { openStoredPlace } from './stored-place.ts';

export const checkpointsDiffCommand: Command = {
  name: 'checkpoints diff',
  summary: 'show what changed between two checkpoints of a set',
  description:
    'In the order of paths: `+` what came, `-` what went, `*` what changed, and in what: content, type, target, mode, ' +
    'owner, time. A folder of which only the time is another one is left out. Only what differs is read from the ' +
    'store.\n\nExit code 3 when there is no difference, or no such checkpoint.',
  positionals: [
    idArgument('before', 'id of a checkpoint; `evictd checkpoints` lists them', true),
    idArgument('after', 'id of another one', true),
  ],
  options: [ONE_SET_OPTION, ...STORE_OPTIONS],
  async run(invocation) {
    const { options, positionals, out, signal } = invocation;
    const { diffCheckpoints } = await import('../checkpoint/retention/diff.ts');
    await using opened = await openStoredPlace(invocation, systemClock);
    const place = await onlySetOf(opened, invocation);
    const [before = '', after = ''] = positionals.map(checkpointId);
    const isJson = options['json'] === true;
    let count = 0;
    const head = JSON.stringify({ key: place.key, set: place.set, before, after });
    for await (const change of diffCheckpoints(place, { before, after }, opened, signal)) {
      if (isJson)
        out.write(
          `${count === 0 ? `${head.slice(0, -1)},"changes":[\n` : ',\n'}${JSON.stringify(changeJson(change))}`,
        );
      else out.write(changeLine(change));
      count++;
    }
    if (!isJson && count === 0) out.write(`${before} and ${after} are the same\n`);
    if (isJson) out.write(count === 0 ? `${head.slice(0, -1)},"changes":[]}\n` : '\n]}\n');
    return count === 0 ? EXIT.nothing : EXIT.done;
  },
};

function changeJson(change: Change): object {
  const { kind, path } = change;
  return {
    kind,
    path,
    ...(change.kind === 'changed' && { what: change.what }),
    ...('before' in change && { before: entryJson(change.before) }),
    ...('after' in change && { after: entryJson(change.after) }),
  };
}

function changeLine(change: Change): string {
  const path = shownText(change.path);
  switch (change.kind) {
    case 'added':
      return `+ ${path}${sizeText(change.after)}\n`;
    case 'removed':
      return `- ${path}${sizeText(change.before)}\n`;
    case 'changed':
      return `* ${path}  ${change.what.join(', ')}${sizesText(change)}\n`;
  }
}

function sizeText(entry: TreeEntry): string {
  if (entry.type === 'directory') return '/';
  return entry.type === 'file' ? `  ${formatSize(entry.size)}` : '';
}

function sizesText({ before, after }: Extract<Change, { kind: 'changed' }>): string {
  if (before.type !== 'file' || after.type !== 'file' || before.size === after.size) return '';
  return ` (${formatSize(before.size)} to ${formatSize(after.size)})`;
}
