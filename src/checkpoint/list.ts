import { forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { keyPrefix } from './blob-name.ts';
import { readManifestHead } from './manifest.ts';
import type { BlobStore } from './store.ts';

export type ListedCheckpoint = {
  readonly set: string;
  readonly id: string;
} & (
  | {
      readonly kind: 'usable';
      /** RFC 3339. */
      readonly createdAt: string;
      readonly reason: string;
      readonly files: number;
      readonly bytes: number;
      readonly bytesSent: number;
      readonly vmName: string;
      readonly vmId: string;
    }
  | { readonly kind: 'unusable'; readonly detail: string }
);

const MANIFESTS_IN_FLIGHT = 8;
const LISTED_MAX = 1000;

/**
 * The checkpoints of one set, or of all sets under the key: by set, the newest first, at most the newest 1,000.
 * A manifest that can't be read is listed as that, though of large ones only the beginning is looked at; only the store's own errors reject.
 */
export async function listCheckpoints(
  place: { readonly prefix: string; readonly key: string; readonly set?: string },
  dependencies: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<readonly ListedCheckpoint[]> {
  const { store } = dependencies;
  const names = await listCheckpointNames(place, { store }, signal);
  names.sort((one, other) => (one.id < other.id ? 1 : -1));
  const listed: ListedCheckpoint[] = [];
  await forEachLimit(names.slice(0, LISTED_MAX), MANIFESTS_IN_FLIGHT, signal, async (name, inner) => {
    const checkpoint = await describeCheckpoint(store, { ...place, set: name.set }, name, inner);
    if (checkpoint !== undefined) listed.push(checkpoint);
  });
  return listed.sort((one, other) =>
    one.set === other.set ? (one.id < other.id ? 1 : -1) : one.set < other.set ? -1 : 1,
  );
}

export interface CheckpointName {
  readonly set: string;
  readonly id: string;
  /** Size of the manifest. */
  readonly bytes: number;
}

/** Sets and ids, without looking into the manifests. */
export async function listCheckpointNames(
  place: { readonly prefix: string; readonly key: string; readonly set?: string },
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<CheckpointName[]> {
  const prefix = keyPrefix(place);
  const names: CheckpointName[] = [];
  const below = place.set === undefined ? prefix : `${prefix}${place.set}/checkpoints/`;
  for await (const { name, bytes } of store.list(below, signal)) {
    const match = /^([^/]+)\/checkpoints\/(\d{8})\.json$/.exec(name.slice(prefix.length));
    if (match?.[1] !== undefined && match[2] !== undefined)
      names.push({ set: match[1], id: match[2], bytes });
  }
  return names;
}

async function describeCheckpoint(
  store: BlobStore,
  place: { readonly prefix: string; readonly key: string; readonly set: string },
  { set, id, bytes }: CheckpointName,
  signal: AbortSignal,
): Promise<ListedCheckpoint | undefined> {
  try {
    const head = await readManifestHead(store, place, { id, bytes }, signal);
    const { createdAt, reason, totals, writer } = head;
    const { vmName, vmId } = writer;
    return { kind: 'usable', set, id, createdAt, reason, ...totals, vmName, vmId };
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    // Removed since it was listed.
    if (error.code === 'not-found') return undefined;
    if (error.code !== 'bad-manifest' && error.code !== 'manifest-version') throw error;
    return { kind: 'unusable', set, id, detail: error.message };
  }
}
