import { EvictdError, isErrno } from '../base/errors.ts';
import { blockCount } from './block-size.ts';
import { CHECKPOINTS, setPrefix } from './blob-name.ts';
import type { SetPlace } from './blob-name.ts';
import { pathProblem, quotePath } from './path-name.ts';
import { ENTRIES_MAX, Manifest } from './schema.ts';
import type { BlobStore } from './store.ts';
import { frameBytesMax } from './zstd-frame.ts';

/*
 * A checkpoint's id is its number in the set's line of checkpoints, `00000001` and on: the parent's plus one, eight
 * digits, so that names sort by age. Two writers that go on from the same parent want the same id, and as a manifest is
 * only ever written with `If-None-Match: *`, one of them gets it and the other one a conflict.
 */

export const MANIFEST_BYTES_MAX = 128 * 1024 ** 2;
const ID = /^\d{8}$/;

export function isCheckpointId(id: string): boolean {
  return ID.test(id);
}

export function nextCheckpointId(parent: string | undefined): string {
  return String(Number(parent ?? 0) + 1).padStart(8, '0');
}

/** Relative to the set. */
export function manifestName(id: string): string {
  return `${CHECKPOINTS}${id}.json`;
}

/** Ids of the set's checkpoints, oldest first. Names that aren't ours are left out. */
export async function listCheckpointIds(
  store: BlobStore,
  place: SetPlace,
  signal: AbortSignal,
): Promise<string[]> {
  return (await listManifests(store, place, signal)).map(({ id }) => id);
}

export interface ListedManifest {
  readonly id: string;
  readonly etag: string;
  /** Epoch ms by the server's clock. */
  readonly writtenAt: number;
}

/** The set's manifests, oldest first. Names that aren't ours are left out. */
export async function listManifests(
  store: BlobStore,
  place: SetPlace,
  signal: AbortSignal,
): Promise<ListedManifest[]> {
  const prefix = `${setPrefix(place)}${CHECKPOINTS}`;
  const listed: ListedManifest[] = [];
  for await (const { name, etag, modifiedAt } of store.list(prefix, signal)) {
    const id = /^(\d{8})\.json$/.exec(name.slice(prefix.length))?.[1];
    if (id !== undefined) listed.push({ id, etag, writtenAt: modifiedAt });
  }
  return listed.sort((one, other) => (one.id < other.id ? -1 : 1));
}

/** Rejects `not-found`, `bad-manifest`, `manifest-version`, or what the store rejects with. */
export async function readManifest(
  store: BlobStore,
  place: SetPlace,
  id: string,
  signal: AbortSignal,
): Promise<Manifest> {
  const name = setPrefix(place) + manifestName(id);
  return parseManifest(await store.read(name, { bytesMax: MANIFEST_BYTES_MAX }, signal), name, {
    ...place,
    id,
  });
}

/** Throws `manifest-too-large`. */
export function serializeManifest(manifest: Manifest): Buffer {
  const { files, directories, symlinks, hardLinks } = manifest;
  const entries = files.length + directories.length + symlinks.length + hardLinks.length;
  const body = entries <= ENTRIES_MAX ? Buffer.from(JSON.stringify(manifest), 'utf8') : undefined;
  if (body !== undefined && body.length <= MANIFEST_BYTES_MAX) return body;
  throw new EvictdError(
    'manifest-too-large',
    `the checkpoint set ${manifest.set} has too many files for one checkpoint: ${entries} entries`,
    { remedy: `split it into several sets of at most ${ENTRIES_MAX} entries, or pack the files` },
  );
}

/**
 * Checks everything that a restore or a later checkpoint relies on.
 * Throws `bad-manifest` (naming the blob and the place in it) or `manifest-version`.
 */
export function parseManifest(
  body: Uint8Array,
  name: string,
  expected: { set: string; id: string },
): Manifest {
  const bad = (detail: string) =>
    new EvictdError('bad-manifest', `the manifest ${name} can't be used: ${detail}`, {
      remedy: 'restore an older checkpoint with --at; evictd checkpoints lists them',
    });
  const json = parseJson(body, bad);
  if (isNewerVersion(json)) {
    throw new EvictdError(
      'manifest-version',
      `the manifest ${name} was written by a newer version of evictd`,
      {
        remedy: 'install that version or a newer one',
      },
    );
  }
  const parsed = Manifest.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw bad(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not a manifest'}`);
  }
  const manifest = parsed.data;
  if (manifest.set !== expected.set) throw bad(`it belongs to the set ${JSON.stringify(manifest.set)}`);
  if (manifest.id !== expected.id)
    throw bad(`it says that it is the checkpoint ${JSON.stringify(manifest.id)}`);
  checkEntries(manifest, bad);
  return manifest;
}

type Bad = (detail: string) => EvictdError;

function parseJson(body: Uint8Array, bad: Bad): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    if (error instanceof SyntaxError || isErrno(error, 'ERR_ENCODING_INVALID_ENCODED_DATA')) {
      throw bad('it is not JSON');
    }
    throw error;
  }
}

function isNewerVersion(json: unknown): boolean {
  return (
    typeof json === 'object' &&
    json !== null &&
    'version' in json &&
    typeof json.version === 'number' &&
    json.version > 2
  );
}

function checkEntries(manifest: Manifest, bad: Bad): void {
  const entries = [...manifest.files, ...manifest.directories, ...manifest.symlinks, ...manifest.hardLinks];
  if (entries.length > ENTRIES_MAX) throw bad(`it has more than ${ENTRIES_MAX} entries`);
  const paths = new Set<string>();
  for (const { path } of entries) {
    const problem = pathProblem(path);
    if (problem !== undefined) throw bad(`the path ${quotePath(path)} ${problem}`);
    if (paths.has(path)) throw bad(`the path ${quotePath(path)} is there twice`);
    paths.add(path);
  }
  const folders = new Set(manifest.directories.map(({ path }) => path));
  for (const { path } of entries) {
    // A file or a link as somebody's parent would lead what is below it to another place.
    for (let end = path.lastIndexOf('/'); end !== -1; end = path.lastIndexOf('/', end - 1)) {
      const parent = path.slice(0, end);
      if (!folders.has(parent))
        throw bad(`${quotePath(parent)}, which holds ${quotePath(path)}, is not a folder`);
    }
  }
  const files = new Set(manifest.files.map(({ path }) => path));
  for (const { path, target } of manifest.hardLinks) {
    if (!files.has(target))
      throw bad(`${quotePath(path)} is a hard link to ${quotePath(target)}, which is no file of it`);
  }
  for (const { path, size, blockSize, blocks, zstd = [] } of manifest.files) {
    if (
      zstd.length > 0 &&
      (zstd.length !== blocks.length || zstd.some((bytes) => bytes > frameBytesMax(blockSize)))
    )
      throw bad(`the compressed blocks of ${quotePath(path)} don't fit its size`);
    if (blocks.length !== blockCount(size, blockSize)) {
      throw bad(
        `${quotePath(path)} has ${blocks.length} blocks, its size says ${blockCount(size, blockSize)}`,
      );
    }
  }
  for (const { path, target } of manifest.symlinks) {
    if (target.includes('\0')) throw bad(`the target of the link ${quotePath(path)} holds a NUL`);
  }
}
