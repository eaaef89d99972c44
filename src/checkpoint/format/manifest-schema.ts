import * as z from 'zod';

import { CHUNK_BYTES_MAX, PACK_BYTES_MAX } from './piece.ts';

/*
 * What is read back from the store is untrusted: whoever can write the container can write an entry. Members that aren't
 * known are left alone: a later version may add some without changing what the others mean.
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

const NamedPaths = z.object({ count: Count, paths: z.array(z.string().max(4096)).max(NAMED_PATHS_MAX) });

const head = {
  id: Id,
  key: z.string().max(512),
  set: z.string().max(512),
  parent: z.object({ id: Id, sha256: hex(64) }).nullable(),
  epoch: Epoch,
  process: hex(8),
  writer: z.object({ vmName: Text, vmId: Text, bootId: Text }),
  createdAt: z.iso.datetime(),
};

const Takeover = z.object({
  kind: z.literal('takeover'),
  ...head,
  adopts: z.object({ epoch: Epoch, seq: Seq }).nullable(),
});

const Manifest = z.object({
  kind: z.literal('checkpoint'),
  ...head,
  reason: Text,
  hash: Hash,
  cut: Cut,
  seq: Seq,
  totals: z.object({ files: Count, directories: Count, links: Count, bytes: Count, bytesSent: Count }),
  changing: NamedPaths,
  lost: NamedPaths,
  partial: z.object({ older: NamedPaths, absent: NamedPaths }).exactOptional(),
  root: z.object({ mode: z.int().min(0).max(0o7777), uid: Owner, gid: Owner }),
  tree: Chunk.nullable(),
  packs: Chunk.nullable(),
  metadata: z
    .array(z.object({ name: PackName, bytes: z.int().min(0).max(PACK_BYTES_MAX), used: Count }))
    .max(METADATA_PACKS_MAX),
  listAgeMs: z.number().min(0),
});

export const SetEntrySchema = z.discriminatedUnion('kind', [Manifest, Takeover]);
export const SetFormatSchema = z.object({ hash: Hash, cut: Cut });
