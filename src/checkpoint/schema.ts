import * as z from 'zod';

import { BLOCK_BYTES_MAX, BLOCKS_MAX } from './block-size.ts';

/*
 * What is read back from the store or from disk is untrusted: whoever can write the container can write a manifest.
 * Shapes and sizes are checked here, paths and counts that depend on each other in manifest.ts.
 */

export const ENTRIES_MAX = 1_000_000;
/** 1 and 2 had other block ids. */
export const MANIFEST_VERSION = 3;

const Path = z.string().min(1).max(4096);
const Nanoseconds = z.string().regex(/^-?\d{1,19}$/);
const Mode = z.int().min(0).max(0o7777);
const Owner = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);
/** base64 of 16 bytes. */
const BlockId = z.string().regex(/^[A-Za-z0-9+/]{22}==$/);
/** With which block ids are made; as long as they are. */
const HashKey = BlockId;
const Size = z.int().min(0);
const BlockSize = z.int().min(1).max(BLOCK_BYTES_MAX);
const Blocks = z.array(BlockId).max(BLOCKS_MAX);

export const ManifestFile = z.object({
  path: Path,
  /** Relative to the set. */
  blob: z.string().max(1024).startsWith('files/'),
  snapshot: z.string().regex(/^[0-9A-Za-z:.+-]{1,64}$/),
  etag: z.string().min(1).max(128),
  size: Size,
  mode: Mode,
  uid: Owner,
  gid: Owner,
  mtimeNs: Nanoseconds,
  blockSize: BlockSize,
  /** The ids of its blocks in order; see block-id.ts. */
  blocks: Blocks,
  /** Bytes of each block's zstd frame as it is stored; absent: stored as it is. */
  zstd: z.array(z.int().min(1)).max(BLOCKS_MAX).optional(),
});
export type ManifestFile = z.infer<typeof ManifestFile>;

export const ManifestDirectory = z.object({
  path: Path,
  mode: Mode,
  uid: Owner,
  gid: Owner,
  mtimeNs: Nanoseconds,
});
export type ManifestDirectory = z.infer<typeof ManifestDirectory>;

/** The set's own folder, for a restore that has to make it. */
export const ManifestRoot = z.object({ mode: Mode, uid: Owner, gid: Owner });
export type ManifestRoot = z.infer<typeof ManifestRoot>;

export const ManifestSymlink = z.object({
  path: Path,
  target: z.string().min(1).max(4096),
  uid: Owner,
  gid: Owner,
});
export type ManifestSymlink = z.infer<typeof ManifestSymlink>;

export const ManifestHardLink = z.object({
  path: Path,
  /** Path of the file that it is another name of; the content is stored once. */
  target: Path,
});
export type ManifestHardLink = z.infer<typeof ManifestHardLink>;

/** A manifest without its entries. */
export const ManifestHead = z.object({
  version: z.literal(MANIFEST_VERSION),
  id: z.string().max(64),
  /** The checkpoint it was made after; null for the first. */
  parent: z.string().max(64).nullable(),
  key: z.string().max(512),
  set: z.string().max(512),
  /** With which all block ids in it were made. */
  hashKey: HashKey,
  createdAt: z.iso.datetime(),
  reason: z.string().max(64),
  writer: z.object({
    vmName: z.string().max(256),
    vmId: z.string().max(256),
    bootId: z.string().max(256),
    /** One per process: tells a late echo of our own write from another writer. */
    process: z.string().max(64),
  }),
  totals: z.object({
    files: Size,
    bytes: Size,
    /** For people only: a wrong one must not make the checkpoint unusable. */
    bytesSent: Size.catch(0),
  }),
  /** Files that were being written to: whole, but each of a moment of its own. */
  filesChanging: Size,
  /** Paths of files that could not be read: the checkpoint has an earlier version of them, or none. */
  filesLost: z.array(Path).max(ENTRIES_MAX).optional(),
  root: ManifestRoot.optional(),
});
export type ManifestHead = z.infer<typeof ManifestHead>;

export interface Manifest extends ManifestHead {
  readonly files: ManifestFile[];
  readonly directories: ManifestDirectory[];
  readonly symlinks: ManifestSymlink[];
  readonly hardLinks: ManifestHardLink[];
}

/** In a folder that was restored; see restore-marker.ts. */
export const RestoreMarker = z.object({
  version: z.literal(1),
  set: z.string(),
  key: z.string(),
  /** The checkpoint's. */
  id: z.string(),
  createdAt: z.string(),
  /** Guest wall clock, RFC 3339. */
  restoredAt: z.string(),
  /** On which machine: an image of it has the mark too, but not what was done since. */
  machine: z.string(),
});
export type RestoreMarker = z.infer<typeof RestoreMarker>;

/** What the first writer of a set leaves for all that come after it; see hash-key.ts. */
export const HashKeyDocument = z.object({ version: z.literal(1), hashKey: HashKey });
export type HashKeyDocument = z.infer<typeof HashKeyDocument>;

export const IndexHeader = z.object({
  /** 1 had other block ids. */
  version: z.literal(2),
  root: z.string(),
  /** In which it was written. */
  bootId: z.string().max(256).optional(),
  entries: z.int().min(0).max(ENTRIES_MAX),
  /** With which all block ids in it were made. */
  hashKey: HashKey,
});
export type IndexHeader = z.infer<typeof IndexHeader>;

export const IndexLine = z.object({
  path: Path,
  size: Size,
  mtimeNs: Nanoseconds,
  ctimeNs: Nanoseconds,
  ino: z.string().regex(/^-?\d{1,20}$/),
  dev: z.string().regex(/^-?\d{1,20}$/),
  readAtMs: z.number(),
  blockSize: BlockSize,
  blocks: Blocks,
});
export type IndexLine = z.infer<typeof IndexLine>;
