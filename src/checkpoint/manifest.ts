import type { z } from 'zod';

import { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { blockCount } from './block-size.ts';
import { CHECKPOINTS, setPrefix } from './blob-name.ts';
import type { SetPlace } from './blob-name.ts';
import { decodeHead, decodeManifest, MANIFEST_BYTES_MAX } from './manifest-format.ts';
import type { Bad, EntryList } from './manifest-format.ts';
import { pathProblem, quotePath } from './path-name.ts';
import {
  ENTRIES_MAX,
  MANIFEST_VERSION,
  ManifestDirectory,
  ManifestFile,
  ManifestHardLink,
  ManifestHead,
  ManifestSymlink,
} from './schema.ts';
import type { Manifest } from './schema.ts';
import type { BlobStore } from './store.ts';
import { frameBytesMax } from './zstd-frame.ts';

/*
 * A checkpoint's id is its number in the set's line of checkpoints, `00000001` and on: the parent's plus one, eight
 * digits, so that names sort by age. Two writers that go on from the same parent want the same id, and as a manifest is
 * only ever written with `If-None-Match: *`, one of them gets it and the other one a conflict.
 */

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
  const body = await store.read(name, { bytesMax: MANIFEST_BYTES_MAX }, signal);
  return parseManifest(body, name, { ...place, id }, signal);
}

/** A head is far smaller, and a manifest of so many bytes is checked in no time. */
const HEAD_BYTES = 256 * 1024;

/**
 * What a manifest says of its checkpoint as a whole, without fetching and checking the entries of a large one.
 * `bytes` is its size. Rejects as `readManifest` does.
 */
export async function readManifestHead(
  store: BlobStore,
  place: SetPlace,
  { id, bytes }: { readonly id: string; readonly bytes: number },
  signal: AbortSignal,
): Promise<ManifestHead> {
  if (bytes <= HEAD_BYTES) return readManifest(store, place, id, signal);
  const name = setPrefix(place) + manifestName(id);
  const range = { offset: 0, count: HEAD_BYTES };
  const start = await store.read(name, { range, bytesMax: HEAD_BYTES }, signal);
  const head = decodeHead(start);
  return head === undefined
    ? readManifest(store, place, id, signal)
    : checkHead(head, name, { ...place, id }, badManifest(name));
}

/**
 * Checks everything that a restore or a later checkpoint relies on.
 * Rejects `bad-manifest` (naming the blob and the place in it) or `manifest-version`.
 */
export async function parseManifest(
  body: Uint8Array,
  name: string,
  expected: { set: string; id: string },
  signal: AbortSignal,
): Promise<Manifest> {
  const bad = badManifest(name);
  const { head, entries } = decodeManifest(body, bad);
  const lists = { files: [], directories: [], symlinks: [], hardLinks: [] };
  const manifest: Manifest = { ...checkHead(head, name, expected, bad), ...lists };
  let count = 0;
  await forEachInSlices(
    entries,
    ([list, entry]) => {
      if (++count > ENTRIES_MAX) throw bad(`it has more than ${ENTRIES_MAX} entries`);
      addEntry(manifest, list, entry, bad);
    },
    signal,
  );
  await checkEntries(manifest, bad, signal);
  return manifest;
}

function checkHead(
  json: unknown,
  name: string,
  expected: { set: string; id: string },
  bad: Bad,
): ManifestHead {
  const version = versionOf(json);
  if (version > MANIFEST_VERSION) {
    throw new EvictdError(
      'manifest-version',
      `the manifest ${name} was written by a newer version of evictd`,
      { remedy: 'install that version or a newer one' },
    );
  }
  if (version < MANIFEST_VERSION) {
    throw new EvictdError(
      'bad-manifest',
      `the manifest ${name} was written by an earlier version of evictd, which had other block ids`,
      { remedy: 'restore it with that version; the next checkpoint is whole again' },
    );
  }
  const head = checked(ManifestHead.safeParse(json), [], bad);
  if (head.set !== expected.set) throw bad(`it belongs to the set ${JSON.stringify(head.set)}`);
  if (head.id !== expected.id) throw bad(`it says that it is the checkpoint ${JSON.stringify(head.id)}`);
  return head;
}

function addEntry(manifest: Manifest, list: EntryList, entry: unknown, bad: Bad): void {
  const place = [list, manifest[list].length];
  switch (list) {
    case 'files':
      return void manifest.files.push(checked(ManifestFile.safeParse(entry), place, bad));
    case 'directories':
      return void manifest.directories.push(checked(ManifestDirectory.safeParse(entry), place, bad));
    case 'symlinks':
      return void manifest.symlinks.push(checked(ManifestSymlink.safeParse(entry), place, bad));
    case 'hardLinks':
      return void manifest.hardLinks.push(checked(ManifestHardLink.safeParse(entry), place, bad));
  }
}

function checked<T>(parsed: z.ZodSafeParseResult<T>, place: readonly (string | number)[], bad: Bad): T {
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw bad(`${[...place, ...(issue?.path ?? [])].join('.')}: ${issue?.message ?? 'not a manifest'}`);
}

function badManifest(name: string): Bad {
  return (detail) =>
    new EvictdError('bad-manifest', `the manifest ${name} can't be used: ${detail}`, {
      remedy: 'restore an older checkpoint with --at; evictd checkpoints lists them',
    });
}

/** What isn't there or no number counts as ours, and shows at the checks that follow. */
function versionOf(json: unknown): number {
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  return typeof version === 'number' ? version : MANIFEST_VERSION;
}

async function checkEntries(manifest: Manifest, bad: Bad, signal: AbortSignal): Promise<void> {
  const entries = [...manifest.files, ...manifest.directories, ...manifest.symlinks, ...manifest.hardLinks];
  const paths = new Set<string>();
  const checkPath = ({ path }: { readonly path: string }) => {
    const problem = pathProblem(path);
    if (problem !== undefined) throw bad(`the path ${quotePath(path)} ${problem}`);
    if (paths.has(path)) throw bad(`the path ${quotePath(path)} is there twice`);
    paths.add(path);
  };
  await forEachInSlices(entries, checkPath, signal);
  const folders = new Set(manifest.directories.map(({ path }) => path));
  const checkParents = ({ path }: { readonly path: string }) => {
    // A file or a link as somebody's parent would lead what is below it to another place.
    for (let end = path.lastIndexOf('/'); end !== -1; end = path.lastIndexOf('/', end - 1)) {
      const parent = path.slice(0, end);
      if (!folders.has(parent))
        throw bad(`${quotePath(parent)}, which holds ${quotePath(path)}, is not a folder`);
    }
  };
  await forEachInSlices(entries, checkParents, signal);
  const files = new Set<string>();
  await forEachInSlices(
    manifest.files,
    (file) => {
      checkBlocks(file, bad);
      files.add(file.path);
    },
    signal,
  );
  for (const { path, target } of manifest.hardLinks) {
    if (!files.has(target))
      throw bad(`${quotePath(path)} is a hard link to ${quotePath(target)}, which is no file of it`);
  }
  for (const { path, target } of manifest.symlinks) {
    if (target.includes('\0')) throw bad(`the target of the link ${quotePath(path)} holds a NUL`);
  }
}

function checkBlocks({ path, size, blockSize, blocks, zstd = [] }: ManifestFile, bad: Bad): void {
  if (
    zstd.length > 0 &&
    (zstd.length !== blocks.length || zstd.some((bytes) => bytes > frameBytesMax(blockSize)))
  ) {
    throw bad(`the compressed blocks of ${quotePath(path)} don't fit its size`);
  }
  if (blocks.length !== blockCount(size, blockSize)) {
    throw bad(`${quotePath(path)} has ${blocks.length} blocks, its size says ${blockCount(size, blockSize)}`);
  }
}
