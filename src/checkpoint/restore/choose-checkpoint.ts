import type { Clock } from '../../base/clock.ts';
import { EvictdError } from '../../base/errors.ts';
import { isStored } from '../format/chunk.ts';
import type { PackName } from '../format/chunk.ts';
import type { Manifest, NamedPaths, PackUse } from '../format/manifest.ts';
import { entryName, PACKS, setPrefix } from '../format/names.ts';
import { quotePath } from '../../base/files/path-name.ts';
import { walkPackUses, walkTree } from '../format/tree/tree.ts';
import { findCheckpoints } from '../index/find-checkpoint.ts';
import type { Wanted } from '../index/find-checkpoint.ts';
import { listPacks } from '../index/list-packs.ts';
import type { ListedPack } from '../index/list-packs.ts';
import { createPieceReader } from '../index/read-piece.ts';
import type { BlobStore } from '../store/store.ts';
import { holdCheckpoint } from './hold.ts';
import { selectEntries } from './selection.ts';
import type { Selection, Walk } from './selection.ts';

/** A checkpoint of which everything that is wanted can be had; kept from being pruned until it is disposed. */
export interface Chosen extends AsyncDisposable {
  readonly manifest: Manifest;
  readonly selection: Selection;
}

export interface ChooseOptions extends Wanted {
  readonly path?: readonly string[];
}

export interface ChooseDependencies {
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly onNote: (note: EvictdError) => void;
}

/**
 * Finds the checkpoint to restore, before the disk is touched. All packs that it needs must be there, whole and not
 * archived, by one listing. Where some are not, the next older checkpoint is taken, and `onNote` hears `older-checkpoint`.
 * Rejects `checkpoint-gone` when there is none that is whole, or only that of `at` counts, and as findCheckpoints does.
 */
export async function chooseCheckpoint(
  options: ChooseOptions,
  { store, clock, onNote }: ChooseDependencies,
  signal: AbortSignal,
): Promise<Chosen> {
  const { place, at, path } = options;
  let listed: ReadonlyMap<PackName, ListedPack> | undefined;
  let damage: EvictdError | undefined;
  for await (const { manifest } of findCheckpoints(options, store, signal)) {
    await using holding = new AsyncDisposableStack();
    holding.use(await holdCheckpoint(place, manifest.id, { store, clock }, signal));
    // Pruning asks for holds once more before packs go: whoever still finds the manifest by now has them all.
    if (!(await isThere(manifest, place, store, signal))) {
      damage ??= gone(manifest, 'it was pruned meanwhile');
      continue;
    }
    listed ??= await listPacks(store, setPrefix(place) + PACKS, signal);
    const found = await lookAt(manifest, { place, path, listed, store }, signal);
    if (found instanceof EvictdError) {
      damage ??= found;
      continue;
    }
    if (damage !== undefined) onNote(olderCheckpoint(damage, manifest));
    tellOf(manifest, found, onNote);
    const hold = holding.move();
    return { manifest, selection: found, [Symbol.asyncDispose]: () => hold.disposeAsync() };
  }
  if (damage === undefined || at !== undefined)
    throw damage ?? new EvictdError('nothing-found', 'no checkpoint');
  throw new EvictdError('checkpoint-gone', `${damage.message}; nor is any older checkpoint whole`, {
    remedy: 'evictd checkpoints lists them; with a path (--path) what is left of one can be had',
    cause: damage,
  });
}

async function isThere(
  { id }: Manifest,
  place: ChooseOptions['place'],
  store: BlobStore,
  signal: AbortSignal,
): Promise<boolean> {
  const name = setPrefix(place) + entryName(id);
  const { items } = await store.list(name, { max: 1 }, signal);
  return items[0]?.name === name;
}

interface Surroundings {
  readonly place: ChooseOptions['place'];
  readonly path: readonly string[] | undefined;
  readonly listed: ReadonlyMap<PackName, ListedPack>;
  readonly store: BlobStore;
}

/** What of the checkpoint is wanted, or why that can't be had. */
async function lookAt(
  manifest: Manifest,
  { place, path, listed, store }: Surroundings,
  signal: AbortSignal,
): Promise<Selection | EvictdError> {
  const prefix = setPrefix(place);
  for (const use of manifest.metadata) {
    const problem = packProblem(use, listed);
    if (problem === undefined) continue;
    return gone(manifest, `the list of its files can't be had: ${prefix}${PACKS}${use.name} ${problem}`);
  }
  const read = createPieceReader({ store, prefix }, signal)(manifest);
  const bad = new Map<PackName, string>();
  for await (const use of walkPackUses(manifest.packs, read, signal)) {
    const problem = packProblem(use, listed);
    if (problem !== undefined) bad.set(use.name, problem);
  }
  const walk: Walk = () => walkTree(manifest.tree, read, signal);
  const selection = await selectEntries(walk, path, manifest.totals);
  return (bad.size === 0 ? undefined : await damageOf(manifest, selection, bad, prefix)) ?? selection;
}

function packProblem(
  { name, bytes }: PackUse,
  listed: ReadonlyMap<PackName, ListedPack>,
): string | undefined {
  const pack = listed.get(name);
  if (pack === undefined) return 'is not in the store any more';
  if (pack.isArchived) return 'is in the archive tier';
  return pack.bytes < bytes ? `has ${pack.bytes} bytes instead of ${bytes}` : undefined;
}

/** Undefined: nothing that is wanted needs those packs. */
async function damageOf(
  manifest: Manifest,
  selection: Selection,
  bad: ReadonlyMap<PackName, string>,
  prefix: string,
): Promise<EvictdError | undefined> {
  const paths: string[] = [];
  let count = 0;
  let why = '';
  for await (const { entry } of selection.entries()) {
    if (entry.type !== 'file') continue;
    const chunk = entry.chunks.find((one) => isStored(one) && bad.has(one.pack));
    if (chunk === undefined || !isStored(chunk)) continue;
    if (count === 0) why = `${prefix}${PACKS}${chunk.pack} ${bad.get(chunk.pack) ?? ''}`;
    count++;
    if (paths.length < 3) paths.push(entry.path);
  }
  if (count === 0) return undefined;
  return gone(manifest, `${named({ count, paths })} can't be had: ${why}`);
}

function gone({ id, set }: Manifest, why: string): EvictdError {
  return new EvictdError('checkpoint-gone', `of checkpoint ${id} of ${set}, ${why}`, {
    remedy:
      'a rule of the account, or somebody, removed or moved it: take another checkpoint with --at; evictd checkpoints lists them',
  });
}

function olderCheckpoint(damage: EvictdError, { id, createdAt }: Manifest): EvictdError {
  return new EvictdError(
    'older-checkpoint',
    `${damage.message}; so checkpoint ${id} of ${createdAt} is restored`,
    {
      cause: damage,
    },
  );
}

/** What whoever restores has to know of a checkpoint that can be had. */
function tellOf(manifest: Manifest, { files, isAll }: Selection, onNote: (note: EvictdError) => void): void {
  const { id, set, partial, lost } = manifest;
  if (files === 0 && isAll) {
    const text = `checkpoint ${id} of ${set} has no files; \`evictd checkpoints\` lists older ones, --at takes one`;
    onNote(new EvictdError('no-files', text));
  }
  if (partial !== undefined) {
    const older = partial.older.count > 0 ? `, ${named(partial.older)} as in the checkpoint before` : '';
    const absent = partial.absent.count > 0 ? `, ${named(partial.absent)} not at all` : '';
    const text = `checkpoint ${id} of ${set} is partial, its time ran out: what was sent by then is new${older}${absent}`;
    onNote(new EvictdError('partial-checkpoint', text, { remedy: '--whole takes the newest whole one' }));
  }
  if (lost.count > 0) {
    const text = `when checkpoint ${id} was made, ${named(lost)} could not be read: it has what was read before, or nothing`;
    onNote(new EvictdError('files-lost', text, { remedy: '--whole takes the newest whole one' }));
  }
}

function named({ count, paths }: NamedPaths): string {
  const shown = paths.slice(0, 3).map(quotePath);
  if (shown.length === 0) return count === 1 ? '1 entry' : `${count} entries`;
  return `${shown.join(', ')}${count > shown.length ? ` and ${count - shown.length} more` : ''}`;
}
