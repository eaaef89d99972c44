import { EvictdError } from '../base/errors.ts';
import type { AzureClient } from './azure-client.ts';
import { azureCodeOf, BadStatus } from './azure-errors.ts';
import { REQUEST_ID } from './azure-get.ts';
import { headerOf } from './azure-answer.ts';
import type { BlobRequest } from './azure-ready.ts';
import { type BlobPage, parseBlobPage, parseBlockPage } from './azure-xml.ts';
import type { BlobHead, BlobItem, BlobStore, BlockList, ListOptions, ReadOptions } from './store.ts';

/** Metadata that names the call which wrote the blob; set and looked at by the store only. */
export const WRITE_ID = 'evictd_write';

const METADATA = 'x-ms-meta-';
const PAGE_SIZE = 5000;
/** A page of blobs, or the 150,000 blocks that a blob can have: some 16 MiB. */
const XML_BYTES_MAX = 64 * 1024 ** 2;
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
          { what: `list the blocks of ${name}`, run: (trySignal) => blocks(client, name, trySignal) },
          signal,
        ),
      ),
    head: (name, signal) =>
      orUndefined(
        client.call(
          {
            what: `look at ${name}`,
            run: async (trySignal) => (await head(client, name, trySignal)).head,
          },
          signal,
        ),
      ),
  };
}

export function transferMs(bytes: number): number {
  return bytes * MS_PER_BYTE;
}

interface Found {
  readonly head: BlobHead;
  readonly writeId: string | undefined;
}

/** The current blob, and the id of the call that wrote it. */
async function head(client: AzureClient, name: string, signal: AbortSignal): Promise<Found> {
  const answer = await client.send({ method: 'HEAD', name, query: '', headers: {} }, signal);
  headerOf(answer, REQUEST_ID);
  const all = Object.fromEntries(
    [...answer].flatMap(([key, value]) =>
      key.startsWith(METADATA) ? [[key.slice(METADATA.length), value] as const] : [],
    ),
  );
  const { [WRITE_ID]: writeId, ...metadata } = all;
  return { head: { etag: headerOf(answer, 'etag'), metadata }, writeId };
}

/** The same, or undefined when there is no blob. */
export async function headIfThere(
  client: AzureClient,
  name: string,
  signal: AbortSignal,
): Promise<Found | undefined> {
  try {
    return await head(client, name, signal);
  } catch (error) {
    if (error instanceof BadStatus && azureCodeOf(error) === 'BlobNotFound') return undefined;
    throw error;
  }
}

async function* list(
  client: AzureClient,
  prefix: string,
  { snapshots = false, uncommitted = false }: Partial<ListOptions> = {},
  signal: AbortSignal,
): AsyncGenerator<BlobItem> {
  const include = [...(snapshots ? ['snapshots'] : []), ...(uncommitted ? ['uncommittedblobs'] : [])];
  const query = { prefix, ...(include.length > 0 && { include: include.join(',') }) };
  for await (const { blobs } of pages(client, `list blobs below ${prefix}`, query, signal)) yield* blobs;
}

/** Names right below `prefix` that end in a slash. */
export async function* folders(
  client: AzureClient,
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const query = { prefix, delimiter: '/' } as const;
  for await (const { prefixes } of pages(client, `list folders below ${prefix}`, query, signal))
    yield* prefixes;
}

/** Page by page, each a call of its own with its own tries. */
async function* pages(
  client: AzureClient,
  what: string,
  { prefix, ...query }: { readonly prefix: string; readonly delimiter?: '/'; readonly include?: string },
  signal: AbortSignal,
): AsyncGenerator<BlobPage> {
  let marker: string | undefined;
  do {
    const text = new URLSearchParams({
      restype: 'container',
      comp: 'list',
      maxresults: String(PAGE_SIZE),
      ...query,
      // Without a value it would be signed otherwise than the service does it.
      ...(prefix !== '' && { prefix }),
      ...(marker !== undefined && { marker }),
    });
    // A plus sign is a space to some, and a plus sign to others.
    const encoded = text.toString().replaceAll('+', '%20');
    const request = { method: 'GET', name: undefined, query: encoded, headers: {} } as const;
    const run = async (trySignal: AbortSignal) => {
      const { headers, content } = await client.receive(request, { bytesMax: XML_BYTES_MAX }, trySignal);
      headerOf(headers, REQUEST_ID);
      return parseBlobPage(content.toString());
    };
    const page = await client.call({ what, run }, signal);
    yield page;
    marker = page.next;
  } while (marker !== '');
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

async function blocks(client: AzureClient, name: string, signal: AbortSignal): Promise<BlockList> {
  const request = { method: 'GET', name, query: 'comp=blocklist&blocklisttype=all', headers: {} } as const;
  const { headers, content } = await client.receive(request, { bytesMax: XML_BYTES_MAX }, signal);
  headerOf(headers, REQUEST_ID);
  const { committed, uncommitted } = parseBlockPage(content.toString());
  let etag = headers.get('etag');
  if (committed.length === 0 && uncommitted.length > 0 && etag !== undefined) {
    // An empty committed blob, or (an emulator's answer) none at all: a block list doesn't tell them apart.
    etag = (await headIfThere(client, name, signal))?.head.etag;
  }
  return { etag, committed, uncommitted };
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'not-found') return undefined;
    throw error;
  }
}
