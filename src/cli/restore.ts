import { realpath } from 'node:fs/promises';

import { unreachable } from '../base/assert.ts';
import { systemClock } from '../base/clock.ts';
import { EvictdError, isErrno } from '../base/errors.ts';
import { formatCount, formatDuration, formatSize } from '../base/units.ts';
import type { Checkpoint, Config } from '../config/schema.ts';
import { type Command, EXIT, type ExitCode, type Invocation } from './command.ts';
import { reportFailure } from './failure.ts';
import { loadConfigFor } from './load-config.ts';
import {
  CONFIG_OPTION,
  IMDS_OPTION,
  JSON_OPTION,
  durationOption,
  textOption,
  checkpointId,
} from './options.ts';
import { restoreSets, type SetOutcome, type WantedSet } from './restore-sets.ts';
import { KEY_OPTION } from './stored-place.ts';

export const restoreCommand: Command = {
  name: 'restore',
  summary: 'bring checkpoints back, into the folders they came from or another one',
  description:
    'Takes the newest complete checkpoint of each set (or the one of --at), verifies every chunk and puts each ' +
    'file in place as a whole. Files that are there and identical are kept, of others only the chunks that differ ' +
    'are fetched; files that the checkpoint lacks are left alone.\n\n' +
    'Without --to, each set goes into its own folder (path in the configuration), which is marked by the file ' +
    '.evictd-restored once it is complete and on disk. A folder so marked on this machine is not touched again, until ' +
    'a notice or a shutdown has saved it: then the next boot compares it, since a disk can outlive the machine and lose ' +
    'what was written last. One with files that were changed after the checkpoint was made is left alone. --force ' +
    'restores over both.\n\n' +
    'Exit code 3 when there is no checkpoint.',
  manual:
    'Examples:\n' +
    '  evictd restore                                  # all sets, each into its own folder\n' +
    '  evictd restore --key fleet_3 --wait 5m          # what the VM fleet_3 has left\n' +
    '  evictd restore --set job --to /tmp/look         # beside what is there\n' +
    "  evictd restore --to /tmp/look --path '*.log'    # a part of it",
  options: [
    {
      name: 'to',
      value: 'DIR',
      description: "folder to restore one set into; made where it is missing (default: each set's own)",
    },
    {
      name: 'set',
      value: 'NAME',
      description: 'which set (default: all; with --to, the only one of the configuration)',
    },
    KEY_OPTION,
    {
      name: 'at',
      value: 'ID',
      description: 'a certain checkpoint; `evictd checkpoints` lists them (default: the newest)',
    },
    {
      name: 'whole',
      description: 'the newest checkpoint that is not partial and lacks no file, in place of the newest one',
    },
    {
      name: 'path',
      value: 'GLOB',
      description: 'only what this pattern names, as .gitignore reads it, and the folders above it',
    },
    { name: 'force', description: 'restore also over files that are newer than the checkpoint' },
    {
      name: 'wait',
      value: 'D',
      description: 'go on trying for so long when the store cannot be reached or used (default: 0s)',
    },
    CONFIG_OPTION,
    IMDS_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, out, err } = invocation;
    const { config } = await loadConfigFor(invocation);
    const sets = await wantedSets(config, options);
    let failed: ExitCode = EXIT.failed;
    const outcomes = await restoreSets(
      {
        sets,
        stateDir: config.state.dir,
        key: textOption(options, 'key'),
        at: checkpointId(textOption(options, 'at')),
        whole: options['whole'] === true,
        path: optionalList(textOption(options, 'path')),
        waitMs: durationOption(options, 'wait') ?? 0,
      },
      invocation,
      systemClock,
      (error) => (failed = reportFailure(error, err)),
    );
    if (options['json'] === true) out.write(`${JSON.stringify({ sets: outcomes })}\n`);
    else for (const outcome of outcomes) out.write(describeOutcome(outcome));
    if (outcomes.some(({ outcome }) => outcome === 'failed')) return failed;
    return outcomes.every(({ outcome }) => outcome === 'nothing-found') ? EXIT.nothing : EXIT.done;
  },
};

function optionalList(pattern: string | undefined): readonly string[] | undefined {
  return pattern === undefined ? undefined : [pattern];
}

/** Rejects `no-store` and `usage`. */
async function wantedSets(
  { checkpoint }: Config,
  options: Invocation['options'],
): Promise<readonly WantedSet[]> {
  if (checkpoint === undefined) {
    throw new EvictdError('no-store', 'the configuration has no checkpoint section, so there is no store', {
      remedy: 'set checkpoint.store.url in the config file, or EVICTD_CHECKPOINT_STORE_URL',
    });
  }
  const name = textOption(options, 'set');
  const to = textOption(options, 'to');
  if (to !== undefined) return [await setInto(to, name ?? onlySet(checkpoint), checkpoint)];
  const sets = checkpoint.sets.filter((set) => name === undefined || set.name === name);
  if (sets.length === 0) {
    const what = name === undefined ? 'no set' : `no set ${JSON.stringify(name)}`;
    throw new EvictdError('usage', `the configuration has ${what}, so it says no folder for it`, {
      remedy: 'say where to with --to DIR, and which set with --set NAME',
    });
  }
  return sets
    .toSorted((one, other) => one.priority - other.priority)
    .map((set) => ({ set: set.name, target: set.path, inPlace: true, force: options['force'] === true }));
}

/** A folder that is named although it is the set's own is marked as well, but then it is the user who decides. */
async function setInto(to: string, set: string, { sets }: Checkpoint): Promise<WantedSet> {
  const own = sets.find(({ name }) => name === set)?.path;
  const inPlace = own !== undefined && (await isSameFolder(to, own));
  return { set, target: to, inPlace, force: true };
}

async function isSameFolder(one: string, other: string): Promise<boolean> {
  try {
    return (await realpath(one)) === (await realpath(other));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return one === other;
    throw error;
  }
}

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

/** What failed was told by its error. */
function describeOutcome(one: SetOutcome): string {
  const { set, target } = one;
  switch (one.outcome) {
    case 'restored': {
      const { id, createdAt, files, filesKept, bytes, bytesFetched, durationMs } = one;
      const kept = filesKept === 0 ? '' : `, ${filesKept} of them already there`;
      return (
        `restored ${set} ${id} of ${createdAt} to ${target}: ${formatCount(files, 'file')}${kept}, ` +
        `${formatSize(bytes)} (${formatSize(bytesFetched)} fetched) in ${formatDuration(durationMs)}\n`
      );
    }
    case 'already-restored':
      return `${set} ${one.id} was restored to ${target} at ${one.restoredAt}: nothing to do (--force does it again)\n`;
    case 'newer-on-disk':
      return (
        `left ${target} as it is: ${JSON.stringify(one.path)} was changed after ${set} ${one.id} was made ` +
        '(--force restores over it)\n'
      );
    case 'nothing-found':
    case 'failed':
      return '';
    default:
      return unreachable(one);
  }
}
