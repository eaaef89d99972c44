import { XMLParser } from 'fast-xml-parser';
import * as z from 'zod';

import { EvictdError } from '../base/errors.ts';
import type { BlobItem, StoredBlock } from './store.ts';

/** One answer of List Blobs. */
export interface BlobPage {
  readonly blobs: readonly BlobItem[];
  /** Names up to the delimiter. */
  readonly prefixes: readonly string[];
  /** Where the next page begins; empty for the last one. */
  readonly next: string;
}

export interface BlockPage {
  readonly committed: readonly StoredBlock[];
  readonly uncommitted: readonly StoredBlock[];
}

const LISTS: ReadonlySet<string> = new Set(['Blob', 'BlobPrefix', 'Block']);

/** An element without elements is a text. */
function elements<T extends z.ZodType>(schema: T) {
  return z.preprocess((value) => (typeof value === 'string' ? {} : value), schema);
}

const Name = z.union([
  z.string(),
  // What XML can't hold is escaped as in a URL.
  z
    .object({ '#text': z.string(), Encoded: z.string() })
    .transform((name) => (name.Encoded === 'true' ? decodeURIComponent(name['#text']) : name['#text'])),
]);

const Blob = z.object({
  Name,
  Snapshot: z.string().default(''),
  // What isn't committed has neither ETag nor date.
  Properties: elements(
    z.object({
      Etag: z.string().default(''),
      'Last-Modified': z.string().default(''),
      'Content-Length': z.coerce.number().default(0),
    }),
  ),
});

const ListAnswer = z.object({
  EnumerationResults: z.object({
    Blobs: elements(
      z.object({
        Blob: z.array(Blob).default([]),
        BlobPrefix: z.array(z.object({ Name })).default([]),
      }),
    ),
    NextMarker: z.string().default(''),
  }),
});

const Blocks = elements(
  z.object({ Block: z.array(z.object({ Name: z.string(), Size: z.coerce.number() })).default([]) }),
);

const BlockListAnswer = z.object({
  BlockList: elements(
    z.object({
      CommittedBlocks: Blocks.default({ Block: [] }),
      UncommittedBlocks: Blocks.default({ Block: [] }),
    }),
  ),
});

/**
 * Throws `bad-answer`.
 * Source: learn.microsoft.com/rest/api/storageservices/list-blobs.
 */
export function parseBlobPage(text: string): BlobPage {
  const { Blobs, NextMarker } = parsed(text, 'EnumerationResults', ListAnswer).EnumerationResults;
  return {
    blobs: Blobs.Blob.map((blob) => {
      const { Etag: etag, 'Last-Modified': date, 'Content-Length': bytes } = blob.Properties;
      return {
        name: blob.Name,
        ...(blob.Snapshot !== '' && { snapshot: blob.Snapshot }),
        // Without quotes in listings, with them everywhere else.
        etag: etag.startsWith('"') ? etag : `"${etag}"`,
        bytes,
        modifiedAt: date === '' ? 0 : Date.parse(date),
      };
    }),
    prefixes: Blobs.BlobPrefix.map((prefix) => prefix.Name),
    next: NextMarker,
  };
}

/**
 * Throws `bad-answer`.
 * Source: learn.microsoft.com/rest/api/storageservices/get-block-list.
 */
export function parseBlockPage(text: string): BlockPage {
  const { CommittedBlocks, UncommittedBlocks } = parsed(text, 'BlockList', BlockListAnswer).BlockList;
  const stored = ({ Block }: typeof CommittedBlocks) =>
    Block.map((block) => ({ id: block.Name, bytes: block.Size }));
  return { committed: stored(CommittedBlocks), uncommitted: stored(UncommittedBlocks) };
}

function parsed<T extends z.ZodType>(text: string, root: string, schema: T): z.output<T> {
  const parser = new XMLParser({
    ignoreAttributes: false,
    attributeNamePrefix: '',
    parseTagValue: false,
    trimValues: false,
    isArray: (name) => LISTS.has(name),
  });
  // The parser takes half a document for a whole one.
  const isWhole = text.trimEnd().endsWith(`</${root}>`);
  const result = schema.safeParse(isWhole ? parser.parse(text) : undefined);
  if (result.success) return result.data;
  throw new EvictdError('bad-answer', 'the answer was incomplete or not understood');
}
