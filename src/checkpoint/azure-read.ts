import { isRestError } from '@azure/core-rest-pipeline';
import type { BlockBlobClient } from '@azure/storage-blob';

import { EvictdError } from '../base/errors.ts';
import type { AzureClient } from './azure-client.ts';
import { azureCodeOf } from './azure-errors.ts';
import { REQUEST_ID } from './azure-get.ts';
import { headerOf } from './azure-request.ts';
import type { BlobRequest } from './azure-request.ts';
import type {
  BlobHead,
  BlobItem,
  BlobStore,
  BlockList,
  ListOptions,
  ReadOptions,
  StoredBlock,
} from './store.ts';

/** Metadata that names the call which wrote the blob; set and looked at by the store only. */
export const WRITE_ID = 'evictd_write';

const PAGE_SIZE = 5000;
// A try gets this much more time for each byte that it moves: one MiB/s is slow for any VM.
const MS_PER_BYTE = 1000 / 1024 ** 2;

/** The reading half of the store. */
export function createReader(client: AzureClient): Pick<BlobStore, 'list' | 'read' | 'blocks' | 'head'> {
  return {
    list: (prefix, signal, options) => list(client, prefix, options, signal),
    read: (name, options, signal) =>
      client.call(
        {
          what: `read ${name}`,
          extraMs: transferMs(options.range?.count ?? options.bytesMax),
          run: (trySignal) => read(client, name, options, trySignal),
        },
        signal,
      ),
    blocks: (name, signal) =>
      orUndefined(
        client.call(
          { what: `list the blocks of ${name}`, run: (trySignal) => blocks(client.blob(name), trySignal) },
          signal,
        ),
      ),
    head: (name, signal) =>
      orUndefined(
        client.call(
          {
            what: `look at ${name}`,
            run: async (trySignal) => (await head(client.blob(name), trySignal)).head,
          },
          signal,
        ),
      ),
  };
}

export function transferMs(bytes: number): number {
  return bytes * MS_PER_BYTE;
}

/** The current blob, and the id of the call that wrote it. */
export async function head(
  blob: BlockBlobClient,
  signal: AbortSignal,
): Promise<{ head: BlobHead; writeId: string | undefined }> {
  const found = await blob.getProperties({ abortSignal: signal });
  required(found.requestId, REQUEST_ID);
  const { [WRITE_ID]: writeId, ...metadata } = found.metadata ?? {};
  return { head: { etag: required(found.etag, 'ETag'), metadata }, writeId };
}

/** The same, or undefined when there is no blob. */
export async function headIfThere(
  blob: BlockBlobClient,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<typeof head>> | undefined> {
  try {
    return await head(blob, signal);
  } catch (error) {
    if (isRestError(error) && azureCodeOf(error) === 'BlobNotFound') return undefined;
    throw error;
  }
}

/** An answer that lacks what the protocol promises. */
export function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new EvictdError('bad-answer', `the answer had no ${what}`);
  return value;
}

async function* list(
  client: AzureClient,
  prefix: string,
  { snapshots = false, uncommitted = false }: Partial<ListOptions> = {},
  signal: AbortSignal,
): AsyncGenerator<BlobItem> {
  const include = { includeSnapshots: snapshots, includeUncommitedBlobs: uncommitted };
  const open = (abortSignal: AbortSignal) =>
    client.container.listBlobsFlat({ prefix, ...include, abortSignal });
  for await (const page of pages(client, `list blobs below ${prefix}`, open, signal)) {
    for (const item of page.segment.blobItems ?? []) {
      // What isn't committed has neither ETag nor date.
      const properties: Partial<typeof item.properties> = item.properties;
      const { etag = '', lastModified = 0, contentLength = 0 } = properties;
      yield {
        name: item.name,
        ...(item.snapshot !== undefined && item.snapshot !== '' && { snapshot: item.snapshot }),
        // Without quotes in listings, with them everywhere else.
        etag: etag.startsWith('"') ? etag : `"${etag}"`,
        bytes: contentLength,
        modifiedAt: new Date(lastModified).getTime(),
      };
    }
  }
}

/** Names right below `prefix` that end in a slash. */
export async function* folders(
  client: AzureClient,
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const open = (abortSignal: AbortSignal) =>
    client.container.listBlobsByHierarchy('/', { prefix, abortSignal });
  for await (const page of pages(client, `list folders below ${prefix}`, open, signal)) {
    for (const { name } of page.segment.blobPrefixes ?? []) yield name;
  }
}

interface Page {
  readonly requestId?: string;
  readonly continuationToken?: string;
}

interface PageSettings {
  readonly maxPageSize: number;
  readonly continuationToken?: string;
}

/** Page by page, each a call of its own with its own tries. */
async function* pages<P extends Page>(
  client: AzureClient,
  what: string,
  open: (abortSignal: AbortSignal) => { byPage(settings: PageSettings): AsyncIterable<P> },
  signal: AbortSignal,
): AsyncGenerator<P> {
  let continuationToken: string | undefined;
  do {
    const settings = {
      maxPageSize: PAGE_SIZE,
      ...(continuationToken !== undefined && { continuationToken }),
    };
    const page = await client.call(
      { what, run: (trySignal) => first(open(trySignal).byPage(settings)) },
      signal,
    );
    yield page;
    continuationToken = page.continuationToken;
  } while (continuationToken !== undefined && continuationToken !== '');
}

async function first<P extends Page>(answer: AsyncIterable<P>): Promise<P> {
  for await (const page of answer) {
    required(page.requestId, REQUEST_ID);
    return page;
  }
  throw new EvictdError('bad-answer', 'the answer had no page');
}

async function read(
  client: AzureClient,
  name: string,
  { snapshot, range, ...limits }: ReadOptions,
  signal: AbortSignal,
): Promise<Uint8Array> {
  // No range can say "nothing".
  if (range?.count === 0) return new Uint8Array(0);
  const answer = await client.receive(getOf(name, snapshot, range), limits, signal);
  headerOf(answer.headers, REQUEST_ID);
  return answer.content;
}

export function getOf(name: string, snapshot: string | undefined, range: ReadOptions['range']): BlobRequest {
  const query = snapshot === undefined ? '' : `snapshot=${encodeURIComponent(snapshot)}`;
  const last = range === undefined ? undefined : range.offset + range.count - 1;
  const headers = range === undefined ? {} : { 'x-ms-range': `bytes=${range.offset}-${last}` };
  return { method: 'GET', name, query, headers };
}

async function blocks(blob: BlockBlobClient, signal: AbortSignal): Promise<BlockList> {
  const found = await blob.getBlockList('all', { abortSignal: signal });
  required(found.requestId, REQUEST_ID);
  const committed = (found.committedBlocks ?? []).map(toStored);
  const uncommitted = (found.uncommittedBlocks ?? []).map(toStored);
  let etag = found.etag;
  if (committed.length === 0 && uncommitted.length > 0 && etag !== undefined) {
    // An empty committed blob, or (an emulator's answer) none at all: a block list doesn't tell them apart.
    etag = (await headIfThere(blob, signal))?.head.etag;
  }
  return { etag, committed, uncommitted };
}

function toStored(block: { name: string; size: number }): StoredBlock {
  return { id: block.name, bytes: block.size };
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'not-found') return undefined;
    throw error;
  }
}
