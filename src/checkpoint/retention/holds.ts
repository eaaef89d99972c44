import { z } from 'zod';

import { forEachLimit } from '../../base/concurrency.ts';
import { hasCode } from '../../base/errors.ts';
import { tryParseJson } from '../../base/json.ts';
import {
  HOLDS,
  RESTORE_HOLD_MS_MAX,
  type SetPlace,
  isCheckpointId,
  newHoldName,
  setPrefix,
} from '../format/names.ts';
import { findCheckpoint } from '../index/find-checkpoint.ts';
import { listPages } from '../store/list-all.ts';
import type { BlobStore } from '../store/store.ts';

/** Keeps a checkpoint from being pruned: `holds/<id>-<random>` of its set. */
export interface Hold {
  /** Of the checkpoint. */
  readonly id: string;
  /** From the container's root. */
  readonly name: string;
  /** `keep`: until it is released; `restore`: while one runs. What can't be read counts as `keep`. */
  readonly kind: 'keep' | 'restore';
  /** Who, for people. */
  readonly by: string;
  /** Epoch ms by the server's clock. */
  readonly since: number;
}

const HOLD_BYTES_MAX = 4096;
const IN_FLIGHT = 8;
/** One for each VM of a large fleet that restores; a listing that goes on is made up. */
const HOLDS_MAX = 10_000;

const HoldBody = z.object({ kind: z.string(), by: z.string().default('') });

/** All holds of a set, the oldest checkpoint's first, with the server's time. Rejects with what the store rejects with. */
export async function listHolds(
  place: SetPlace,
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<{ readonly holds: readonly Hold[]; readonly serverMs: number }> {
  const below = setPrefix(place) + HOLDS;
  const holds: Hold[] = [];
  let serverMs = 0;
  for await (const page of listPages(store, below, signal, HOLDS_MAX)) {
    serverMs = page.serverMs;
    await forEachLimit(page.items, IN_FLIGHT, signal, async ({ name, modifiedAt }, inner) => {
      const [id = '', ...random] = name.slice(below.length).split('-');
      if (!isCheckpointId(id) || random.length === 0) return;
      const body = await readBody(store, name, inner);
      if (body !== undefined) holds.push({ id, name, since: modifiedAt, ...body });
    });
  }
  return { holds: holds.sort((one, other) => (one.name < other.name ? -1 : 1)), serverMs };
}

/** Whether it (still) keeps its checkpoint. */
export function isHolding({ kind, since }: Hold, serverMs: number): boolean {
  return kind === 'keep' || isRecent(since, serverMs);
}

/** Made within a day: a restore by it may be reading, whatever became of its checkpoint. */
export function isRecent(since: number, serverMs: number): boolean {
  return serverMs - since <= RESTORE_HOLD_MS_MAX;
}

/**
 * Keeps a checkpoint until `releaseCheckpoint`, whatever is pruned. Answers false when it was kept already.
 * Rejects as `findCheckpoint` does, or with what the store rejects with.
 */
export async function keepCheckpoint(
  place: SetPlace,
  id: string,
  by: string,
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<boolean> {
  const name = newHoldName(place, id);
  await findCheckpoint(place, id, store, signal);
  const { holds } = await listHolds(place, { store }, signal);
  if (holds.some((hold) => hold.id === id && hold.kind === 'keep')) return false;
  const body = Buffer.from(`${JSON.stringify({ version: 1, kind: 'keep', by })}\n`, 'utf8');
  await store.create(name, body, { contentType: 'application/json' }, signal);
  try {
    // A pruning that has listed the holds before this one was there may have removed it.
    await findCheckpoint(place, id, store, signal);
  } catch (error) {
    if (hasCode(error, 'nothing-found')) await store.remove(name, signal);
    throw error;
  }
  return true;
}

/** Ends what `keepCheckpoint` began. Answers false when it wasn't kept. Rejects with what the store rejects with. */
export async function releaseCheckpoint(
  place: SetPlace,
  id: string,
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<boolean> {
  const { holds } = await listHolds(place, { store }, signal);
  const kept = holds.filter((hold) => hold.id === id && hold.kind === 'keep');
  for (const { name } of kept) await store.remove(name, signal);
  return kept.length > 0;
}

/** Undefined: it is gone meanwhile. */
async function readBody(
  store: BlobStore,
  name: string,
  signal: AbortSignal,
): Promise<Pick<Hold, 'kind' | 'by'> | undefined> {
  try {
    const body = await store.read(name, { bytesMax: HOLD_BYTES_MAX }, signal);
    const parsed = HoldBody.safeParse(tryParseJson(Buffer.from(body).toString('utf8')));
    if (!parsed.success) return { kind: 'keep', by: '' };
    return { kind: parsed.data.kind === 'restore' ? 'restore' : 'keep', by: parsed.data.by };
  } catch (error) {
    if (hasCode(error, 'not-found')) return undefined;
    if (hasCode(error, 'archived', 'too-large')) return { kind: 'keep', by: '' };
    throw error;
  }
}
