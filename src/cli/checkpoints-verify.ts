import { open } from 'node:fs/promises';

import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatCount, formatSize } from '../base/units.ts';
import type { VerifyResult } from '../checkpoint/retention/verify.ts';
import { ANY_SET_OPTION, STORE_OPTIONS, idArgument, onlySetOf, setsOf } from './checkpoints-set.ts';
import { type Command, EXIT, type Invocation } from './command.ts';
import { textOption, checkpointId } from './options.ts';
import { shownText } from '../base/shown.ts';
import { type StoredPlace, openStoredPlace } from './stored-place.ts';

export const checkpointsVerifyCommand: Command = {
  name: 'checkpoints verify',
  summary: 'read a checkpoint back and check it',
  description:
    'Its manifest, all of its tree, that each pack is there with its length, and the content of its files chunk by ' +
    'chunk: all of it, or a part by chance. Of each set the newest checkpoint, or the one that is named. Damage is ' +
    'told by path; what is still on the disk of its VM is sent anew with the next checkpoint there.\n\n' +
    'Exit code 1 when anything is damaged or missing, 3 when there is no checkpoint.',
  manual:
    'Examples:\n' +
    '  evictd checkpoints verify                       # the newest of each set, all of it\n' +
    '  evictd checkpoints verify --sample 5%           # a twentieth of the content, all else\n' +
    '  evictd checkpoints verify 00000042 --set job',
  positionals: [idArgument('id', 'of the checkpoint; default: the newest of each set', false)],
  options: [
    { name: 'sample', value: 'P%', description: 'how much of the content is read back (default: 100%)' },
    ANY_SET_OPTION,
    ...STORE_OPTIONS,
  ],
  async run(invocation) {
    const { options, positionals, out } = invocation;
    const sample = sampleOption(textOption(options, 'sample'));
    await using place = await openStoredPlace(invocation, systemClock);
    const [id] = positionals.map(checkpointId);
    const sets =
      id === undefined ? await setsOf(place, invocation) : [(await onlySetOf(place, invocation)).set];
    const results: VerifyResult[] = [];
    for (const set of sets) results.push(await verify(place, { set, id, sample }, invocation));
    if (options['json'] === true) out.write(`${JSON.stringify({ key: place.key, sets: results })}\n`);
    else for (const result of results) out.write(resultText(result));
    return results.every(({ isWhole }) => isWhole) ? EXIT.done : EXIT.failed;
  },
};

/** A part from 0 to 1. */
function sampleOption(text: string | undefined): number {
  if (text === undefined) return 1;
  const percent = /^(\d{1,3}(?:\.\d+)?)%$/.exec(text)?.[1];
  if (percent !== undefined && Number(percent) <= 100) return Number(percent) / 100;
  throw new EvictdError('usage', `--sample: ${JSON.stringify(text)} is not a percentage`, {
    remedy: 'write it as 5% or 0.5%, at most 100%',
  });
}

/** Content is read and checked by the engine's threads, which write it to nowhere. */
async function verify(
  { store, workers, prefix, key }: StoredPlace,
  { set, id, sample }: { readonly set: string; readonly id: string | undefined; readonly sample: number },
  { signal }: Pick<Invocation, 'signal'>,
): Promise<VerifyResult> {
  const { verifySet } = await import('../checkpoint/retention/verify.ts');
  await using nowhere = await open('/dev/null', 'w');
  return await verifySet(
    { place: { prefix, key, set }, sample, ...(id !== undefined && { id }) },
    {
      store,
      async check({ chunks, ...stretch }, inner) {
        const placed = chunks.map((chunk) => ({ chunk, fd: nowhere.fd, position: 0 }));
        return (await workers.fetch({ ...stretch, chunks: placed }, inner)).wrong;
      },
    },
    signal,
  );
}

const NAMED_MAX = 50;

function resultText({
  set,
  id,
  isWhole,
  files,
  chunks,
  chunksRead,
  bytesRead,
  ...found
}: VerifyResult): string {
  const { packs, pieces, damaged } = found;
  const read = `${chunksRead} of ${formatCount(chunks, 'chunk')} read back, ${formatSize(bytesRead)}`;
  const head = `${set} ${id}: ${isWhole ? 'whole' : 'DAMAGED'}: ${formatCount(files, 'file')}, ${read}\n`;
  const lines = [
    ...named(packs, ({ name, problem }) => `  pack ${name}: ${PACK_PROBLEMS[problem]}`),
    ...named(pieces, ({ what, path, detail }) => `  ${PIECES[what]}${shownText(path)}: ${shownText(detail)}`),
    ...named(damaged, ({ path, missing, wrong }) => {
      const how = [
        ...(missing > 0 ? [`${formatCount(missing, 'chunk')} missing`] : []),
        ...(wrong > 0 ? [`${formatCount(wrong, 'chunk')} with other content`] : []),
      ];
      return `  ${shownText(path)}: ${how.join(', ')}`;
    }),
  ];
  return head + lines.map((line) => `${line}\n`).join('');
}

const PACK_PROBLEMS = {
  gone: 'not in the store any more',
  archived: 'in the archive tier',
  'wrong-length': 'has another length than it should have',
} as const;
const PIECES = {
  tree: 'tree, from this path on: ',
  'chunk-list': 'list of the chunks of ',
  'table-of-packs': 'table of packs',
} as const;

function named<T>(
  { count, first }: { readonly count: number; readonly first: readonly T[] },
  text: (item: T) => string,
) {
  const shown = first.slice(0, NAMED_MAX).map(text);
  return count > shown.length
    ? [...shown, `  and ${count - shown.length} more; --json names up to 1,000`]
    : shown;
}
