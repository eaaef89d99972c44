import * as z from 'zod';

import { CHUNK_BYTES_MAX, PACK_BYTES_MAX } from './tree/piece.ts';

/*
 * What is at `checkpoints/<id>.json`, and in `format.json`. What is read back from the store is untrusted: whoever can
 * write the container can write an entry. Members that aren't known are left alone: a later version may add some without
 * changing what the others mean.
 */
export const FORMAT_VERSION = 1;
/** Metadata packs that a manifest may name: with more, pieces have to be sent anew together. */
export const METADATA_PACKS_MAX = 256;
export const NAMED_PATHS_MAX = 100;

const hex = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`));
const Count = z.int().min(0);
const Id = z.string().regex(/^(?!0{8})\d{8}$/);
const Epoch = hex(16);
const PackName = z.string().regex(/^[0-9a-f]{16}-[0-9a-f]{8}-[0-9a-f]{8}$/);
const Seq = z.int().min(0).max(0xffff_ffff);
const Owner = z.int().min(0).max(0xffff_fffe);
const Text = z.string().max(256);

const Hash = z.object({
  name: z.enum(['gmac-128', 'sha256-128']),
  key: z.string().regex(/^[A-Za-z0-9+/]{22}==$/),
});
const Cut = z.object({
  chunkBytes: z.int().min(1).max(CHUNK_BYTES_MAX),
  packBytes: z.int().min(1).max(PACK_BYTES_MAX),
});

/** A piece of a tree or table. */
const Chunk = z
  .object({
    id: hex(32),
    plain: z.int().min(1).max(CHUNK_BYTES_MAX),
    pack: PackName,
    offset: z.int().min(0).max(PACK_BYTES_MAX),
    stored: z.int().min(1),
  })
  .refine(({ plain, stored }) => stored <= plain, 'it is stored in more bytes than it has');

const NamedPaths = z.object({
  count: Count,
  paths: z.array(z.string().max(4096)).max(NAMED_PATHS_MAX).readonly(),
});
export type NamedPaths = Readonly<z.infer<typeof NamedPaths>>;

/** A row of the table of packs. */
const PackUse = z.object({
  name: PackName,
  /** Of the blob. */
  bytes: z.int().min(0).max(PACK_BYTES_MAX),
  /** Of stored chunks in it that the checkpoint needs. */
  used: Count,
});
export type PackUse = Readonly<z.infer<typeof PackUse>>;

/** Who writes. */
const Writer = z.object({ vmName: Text, vmId: Text, bootId: Text });
export type Writer = Readonly<z.infer<typeof Writer>>;

const head = {
  /** Eight digits, one more than its parent's. */
  id: Id,
  key: z.string().max(512),
  set: z.string().max(512),
  /** The entry it was made after, with the sha256 of that blob in hex; null for the first. */
  parent: z.object({ id: Id, sha256: hex(64) }).nullable(),
  /** One life of the writer's local index. */
  epoch: Epoch,
  /** The writer's process. */
  process: hex(8),
  writer: Writer,
  /** RFC 3339, by the writer's clock. */
  createdAt: z.iso.datetime(),
};

/** The mark of a writer that takes the set over. */
const Takeover = z.object({
  kind: z.literal('takeover'),
  ...head,
  /** Packs of an earlier epoch up to that number that this one may go on from: they stay until its first checkpoint. */
  adopts: z.object({ epoch: Epoch, seq: Seq }).nullable(),
});
export type Takeover = Readonly<z.infer<typeof Takeover>>;

const Manifest = z.object({
  kind: z.literal('checkpoint'),
  ...head,
  reason: Text,
  /** Present: asked for by somebody whose checkpoints push out none but their own. */
  guest: z.literal(true).exactOptional(),
  hash: Hash,
  cut: Cut,
  /** Packs of this epoch up to that number, begun or not, are named by it, or of no use any more. */
  seq: Seq,
  /** `bytes` are of all files, `bytesSent` what was sent for it, staging included. */
  totals: z.object({ files: Count, directories: Count, links: Count, bytes: Count, bytesSent: Count }),
  /** Entries that were being written to or moved: each is of a moment of its own. */
  changing: NamedPaths,
  /** Entries that could not be had: an earlier version of them is in it, or none. */
  lost: NamedPaths,
  /** Present: made at a deadline, with what was stored by then; `older` have the parent's content, `absent` none. */
  partial: z.object({ older: NamedPaths, absent: NamedPaths }).exactOptional(),
  /** The set's own folder. */
  root: z.object({ mode: z.int().min(0).max(0o7777), uid: Owner, gid: Owner }),
  /** The topmost piece of its tree; null: it has no entries. */
  tree: Chunk.nullable(),
  /** The topmost piece of its table of data packs; null: it needs none. */
  packs: Chunk.nullable(),
  /** Packs that hold its metadata, with their bytes and how many of those it uses. */
  metadata: z.array(PackUse).max(METADATA_PACKS_MAX).readonly(),
  /** How old the list of packs was that it was checked against, ms. */
  listAgeMs: z.number().min(0),
});
export type Manifest = Readonly<z.infer<typeof Manifest>>;

export const SetEntry = z.discriminatedUnion('kind', [Manifest, Takeover]);
export type SetEntry = Manifest | Takeover;

/** `format.json`: what all writers of a set have in common. */
export const SetFormat = z.object({ hash: Hash, cut: Cut });
export type SetFormat = Readonly<z.infer<typeof SetFormat>>;
