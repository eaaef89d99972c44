import { RestError } from '@azure/storage-blob';
import type { BlobItem as SdkItem, BlobClient, ContainerClient } from '@azure/storage-blob';

import { EvictdError } from '../../../base/errors.ts';
import type { Caller } from './caller.ts';
import { assertOfService, AttemptFailed, badAnswer } from './errors.ts';
import { blobIn } from './blob-name.ts';
import type {
  BlobItem,
  BlobPage,
  BlobStore,
  Created,
  FolderPage,
  ListOptions,
  ReadOptions,
  Removed,
} from '../store.ts';

const PAGE_MAX = 5000;

/** The reading half of the store. */
export function createReader(
  container: ContainerClient,
  call: Caller,
): Pick<BlobStore, 'list' | 'folders' | 'read'> {
  return {
    list(prefix, options, signal) {
      const run = (abortSignal: AbortSignal) => listOnce(container, prefix, options, abortSignal);
      return call({ what: `list blobs below ${prefix}`, run }, signal);
    },
    folders(prefix, options, signal) {
      const run = (abortSignal: AbortSignal) => foldersOnce(container, prefix, options, abortSignal);
      return call({ what: `list folders below ${prefix}`, run }, signal);
    },
    async read(name, options, signal) {
      const { range, bytesMax } = options;
      const blob = blobIn(container, name);
      // No range can say "nothing".
      if (range?.count === 0) return new Uint8Array(0);
      const bytes = range?.count ?? bytesMax;
      if (bytes > bytesMax) throw tooLarge(name, bytesMax);
      const run = (abortSignal: AbortSignal) => readOnce(blob, options, abortSignal);
      const content = await call({ what: `read ${name}`, bytes, run }, signal);
      if (content.length > bytesMax) throw tooLarge(name, bytesMax);
      return content;
    },
  };
}

/** The writing half of the store. */
export function createWriter(
  container: ContainerClient,
  call: Caller,
): Pick<BlobStore, 'create' | 'replace' | 'remove'> {
  return {
    async create(name, body, { contentType }, signal) {
      const blob = blobIn(container, name);
      const run = async (abortSignal: AbortSignal): Promise<Created> => {
        const conditions = { ifNoneMatch: '*' };
        const blobHTTPHeaders = { blobContentType: contentType };
        const answer = await blob.upload(body, body.length, { abortSignal, conditions, blobHTTPHeaders });
        assertOfService(answer);
        return { outcome: 'created', isVersioned: answer.versionId !== undefined };
      };
      // Only what is there can be leased, archived or under a policy.
      const taken: Created = { outcome: 'taken' };
      const outcomes = { taken, leased: taken, archived: taken, immutable: taken };
      return call({ what: `create ${name}`, bytes: body.length, run, outcomes }, signal);
    },
    async replace(name, body, { contentType }, signal) {
      const blob = blobIn(container, name);
      const run = async (abortSignal: AbortSignal) => {
        const blobHTTPHeaders = { blobContentType: contentType };
        assertOfService(await blob.upload(body, body.length, { abortSignal, blobHTTPHeaders }));
        return true;
      };
      const write = { what: `write ${name}`, bytes: body.length, run, outcomes: { taken: false } };
      if (await call(write, signal)) return;
      throw new EvictdError('immutable', `could not write ${name}: it is there and may not be overwritten`, {
        remedy: 'give the shared access signature the right to write (w)',
      });
    },
    async remove(name, signal) {
      const blob = blobIn(container, name);
      const run = async (abortSignal: AbortSignal): Promise<Removed> => {
        const answer = await blob.delete({ abortSignal });
        assertOfService(answer);
        // Source: answers recorded from accounts that keep what is deleted.
        const isPermanent = answer._response.headers.get('x-ms-delete-type-permanent') !== 'false';
        return { outcome: 'removed', isPermanent };
      };
      const absent: Removed = { outcome: 'absent' };
      return call({ what: `remove ${name}`, run, outcomes: { 'not-found': absent } }, signal);
    },
  };
}

function tooLarge(name: string, bytesMax: number): EvictdError {
  return new EvictdError(
    'too-large',
    `could not read ${name}: it has more than the ${bytesMax} bytes expected`,
  );
}

function pageOf(options: ListOptions) {
  return {
    maxPageSize: Math.min(options.max ?? PAGE_MAX, PAGE_MAX),
    ...(options.from !== undefined && { continuationToken: options.from }),
  };
}

async function listOnce(
  container: ContainerClient,
  prefix: string,
  options: ListOptions,
  abortSignal: AbortSignal,
): Promise<BlobPage> {
  // Without a value a prefix would be signed otherwise than the service does it.
  const all = { abortSignal, includeMetadata: true, ...(prefix !== '' && { prefix }) };
  const page = await firstOf(container.listBlobsFlat(all).byPage(pageOf(options)));
  assertOfService(page);
  const { date, continuationToken: next, segment } = page;
  if (date === undefined) throw new AttemptFailed(badAnswer('the listing has no date'));
  const items = segment.blobItems.filter((item) => !isFolder(item)).map(itemOf);
  return { items, ...(next !== undefined && next !== '' && { next }), serverMs: date.getTime() };
}

async function foldersOnce(
  container: ContainerClient,
  prefix: string,
  options: ListOptions,
  abortSignal: AbortSignal,
): Promise<FolderPage> {
  const all = { abortSignal, ...(prefix !== '' && { prefix }) };
  const page = await firstOf(container.listBlobsByHierarchy('/', all).byPage(pageOf(options)));
  assertOfService(page);
  const { continuationToken: next, segment } = page;
  const names = (segment.blobPrefixes ?? []).map(({ name }) => name);
  return { names, ...(next !== undefined && next !== '' && { next }) };
}

/** The SDK's pages end with the last one, which comes first where only one is asked for. */
async function firstOf<T>(pages: AsyncIterableIterator<T>): Promise<T> {
  for await (const page of pages) return page;
  throw new AttemptFailed(badAnswer('the listing has no page'));
}

/**
 * Folders of a hierarchical account are listed as empty blobs. The SDK drops the element that says so
 * (`ResourceType`); they have no content type, which each blob of ours has, or metadata that names them.
 * Sources: answers recorded from a hierarchical account; learn.microsoft.com, Azure Data Lake Storage and blob APIs.
 */
function isFolder({ properties, metadata }: SdkItem): boolean {
  if (metadata?.['hdi_isfolder'] === 'true') return true;
  return properties.contentLength === 0 && (properties.contentType ?? '') === '';
}

function itemOf({ name, properties }: SdkItem): BlobItem {
  const { contentLength: bytes, accessTier } = properties;
  const modifiedAt = properties.lastModified.getTime();
  if (bytes === undefined || Number.isNaN(modifiedAt))
    throw new AttemptFailed(badAnswer('the listing has a blob without length or time'));
  return { name, bytes, modifiedAt, isArchived: accessTier === 'Archive' };
}

async function readOnce(
  blob: BlobClient,
  { range, bytesMax }: ReadOptions,
  abortSignal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  // One byte more than is allowed tells a larger blob.
  const { offset, count } = range ?? { offset: 0, count: bytesMax + 1 };
  let answer;
  try {
    answer = await blob.download(offset, count, { abortSignal, maxRetryRequests: 0 });
  } catch (error) {
    // An empty blob has no range.
    if (range === undefined && error instanceof RestError && error.statusCode === 416)
      return new Uint8Array(0);
    throw error;
  }
  assertOfService(answer);
  const chunks: Buffer<ArrayBuffer>[] = [];
  // Our HTTP client gives buffers of its own, one for all.
  for await (const chunk of answer.readableStreamBody ?? []) chunks.push(chunk as Buffer<ArrayBuffer>);
  const [only = Buffer.alloc(0)] = chunks;
  const content = chunks.length > 1 ? new Uint8Array(Buffer.concat(chunks)) : only;
  if (content.length !== answer.contentLength) throw new AttemptFailed(badAnswer('the answer was cut off'));
  if (range !== undefined && content.length !== count)
    throw new AttemptFailed({
      code: 'bad-answer',
      reason: `the answer has ${content.length} bytes, not the ${count} that were asked for`,
      retry: { kind: 'never' },
    });
  return content;
}
