import { randomUUID } from 'node:crypto';

import { EvictdError } from '../base/errors.ts';
import { headerOf } from './azure-answer.ts';
import type { BothAnswers } from './azure-answer.ts';
import type { AzureClient } from './azure-client.ts';
import { REQUEST_ID } from './azure-get.ts';
import { headIfThere, transferMs, WRITE_ID } from './azure-read.ts';
import type { BlobRequest } from './azure-ready.ts';
import type { RequestsTogether } from './azure-together.ts';
import type { BlobStore, SmallWrite, WriteCondition, WriteOptions, Written } from './store.ts';

type Writer = Pick<BlobStore, 'stageBlock' | 'commitBlocks' | 'put' | 'putTogether' | 'snapshot' | 'remove'>;

/** The writing half of the store. `isConflict` tells the service's 409 and 412 on a condition from other errors. */
export function createWriter(client: AzureClient, isConflict: (error: unknown) => boolean): Writer {
  return {
    stageBlock: (name, id, body, signal) =>
      client.call(
        {
          what: `stage a block of ${name}`,
          extraMs: transferMs(body.byteLength),
          async run(trySignal) {
            const query = `comp=block&blockid=${encodeURIComponent(id)}`;
            const answer = await client.send({ method: 'PUT', name, query, headers: {}, body }, trySignal);
            headerOf(answer, REQUEST_ID);
          },
        },
        signal,
      ),
    commitBlocks: (name, ids, options, signal) =>
      writeOnce(client, isConflict, signal, {
        name,
        options,
        what: `commit ${name}`,
        query: 'comp=blocklist',
        headers: { 'content-type': 'application/xml' },
        body: blockList(ids),
      }),
    put: (name, body, options, signal) =>
      writeOnce(client, isConflict, signal, wholeWrite(name, body, options)),
    ...(client.sendTogether !== undefined && {
      putTogether: (writes, common, signal) => putTogether(client, isConflict, writes, common, signal),
    }),
    snapshot: (name, etag, signal) =>
      client.call(
        {
          // A lost answer leaves a second snapshot behind: it shares all blocks with the first and goes with the blob.
          what: `snapshot ${name}`,
          async run(trySignal) {
            const headers = { 'if-match': etag };
            return headerOf(await client.send({ ...snapshotOf(name), headers }, trySignal), SNAPSHOT);
          },
        },
        signal,
      ),
    remove: (name, options, signal) => remove(client, isConflict, name, options, signal),
  };
}

const SNAPSHOT = 'x-ms-snapshot';
const SNAPSHOT_REQUEST = { query: 'comp=snapshot', headers: {} };

function snapshotOf(name: string): BlobRequest {
  return { ...SNAPSHOT_REQUEST, method: 'PUT', name };
}

/** `Latest`: a block that was staged since the last commit, or else the committed one. */
function blockList(ids: readonly string[]): Uint8Array {
  const latest = ids.map((id) => `<Latest>${id}</Latest>`).join('');
  return Buffer.from(`<?xml version="1.0" encoding="utf-8"?><BlockList>${latest}</BlockList>`);
}

interface Write extends Pick<BlobRequest, 'query' | 'headers'> {
  readonly name: string;
  readonly options: WriteOptions;
  readonly what: string;
  readonly body: Uint8Array;
}

/**
 * A conditional write that knows itself again. When its answer is lost it may have taken effect, and its repetition
 * then meets its own new ETag (412, 409). So it leaves an id of its own in the blob's metadata; a conflict on a later
 * try is the success it looks like when the blob carries that id.
 */
async function writeOnce(
  client: AzureClient,
  isConflict: (error: unknown) => boolean,
  signal: AbortSignal,
  write: Write,
  begun?: Begun,
): Promise<Written> {
  const { name, query, body } = write;
  const writeId = begun?.writeId ?? randomUUID();
  const headers = { ...write.headers, ...headersOf(write.options, writeId) };
  return client.call(
    {
      what: write.what,
      extraMs: transferMs(body.byteLength),
      isLate: begun !== undefined,
      async run(trySignal, number) {
        try {
          if (number === 1 && begun !== undefined) return writtenBy(await begun.answers(trySignal));
          const request = { method: 'PUT', name, query, headers, body } as const;
          if (write.options.snapshot !== true)
            return { etag: headerOf(await client.send(request, trySignal), 'etag') };
          return writtenBy(await client.sendBoth(request, snapshotOf(name), trySignal));
        } catch (error) {
          if (number === 1 || !isConflict(error)) throw error;
          const found = await headIfThere(client, name, trySignal);
          if (found?.writeId !== writeId) throw error;
          return { etag: found.head.etag };
        }
      },
    },
    signal,
  );
}

/** A write whose first try is made already. */
interface Begun {
  readonly writeId: string;
  answers(signal: AbortSignal): Promise<BothAnswers>;
}

function writtenBy({ headers, next }: BothAnswers): Written {
  const snapshot = next?.get(SNAPSHOT);
  return { etag: headerOf(headers, 'etag'), ...(snapshot !== undefined && { snapshot }) };
}

const WHOLE_BLOB = { 'x-ms-blob-type': 'BlockBlob' };

function wholeWrite(name: string, body: Uint8Array, options: WriteOptions): Write {
  return { name, options, what: `write ${name}`, query: '', headers: WHOLE_BLOB, body };
}

/** The first try of all at once; what that doesn't settle goes on by itself. */
async function putTogether(
  client: AzureClient,
  isConflict: (error: unknown) => boolean,
  writes: readonly SmallWrite[],
  common: Omit<WriteOptions, 'condition'>,
  signal: AbortSignal,
): Promise<readonly (Written | EvictdError)[]> {
  const writeIds = writes.map(() => randomUUID());
  // What is wrong with one of them, with the token, or with the thread shows again when they go on by themselves.
  const sent = await sendTogether(client, writes, writeIds, common, signal).catch(() => undefined);
  const outcomes: (Written | EvictdError)[] = [];
  const goOn = async ({ name, body, condition, metadata }: SmallWrite, index: number) => {
    const options = { ...common, condition, metadata: { ...common.metadata, ...metadata } };
    const begun = sent && {
      writeId: writeIds[index] ?? '',
      answers: (own: AbortSignal) => sent.answers(index, own),
    };
    const write = wholeWrite(name, body, options);
    outcomes[index] = await writeOnce(client, isConflict, signal, write, begun).catch(storeErrorOf);
  };
  const open: Promise<void>[] = [];
  for (const [index, write] of writes.entries()) {
    const answers = sent?.answered(index);
    if (answers?.headers.has('etag') === true) outcomes[index] = writtenBy(answers);
    else open.push(goOn(write, index));
  }
  await Promise.all(open);
  return outcomes;
}

async function sendTogether(
  client: AzureClient,
  writes: readonly SmallWrite[],
  writeIds: readonly string[],
  common: Omit<WriteOptions, 'condition'>,
  signal: AbortSignal,
): Promise<RequestsTogether | undefined> {
  const requests = writes.map(({ name, body, condition, metadata }, index) => {
    const own = { ...conditionHeader(condition), ...metadataHeaders(metadata) };
    return { name, headers: { ...own, [WRITE_ID_HEADER]: writeIds[index] ?? '' }, body };
  });
  const group = {
    requests,
    query: '',
    headers: { ...WHOLE_BLOB, ...commonHeaders(common) },
    next: common.snapshot === true ? SNAPSHOT_REQUEST : undefined,
  };
  return client.sendTogether?.(group, signal);
}

/** Throws what is none. */
function storeErrorOf(error: unknown): EvictdError {
  if (error instanceof EvictdError) return error;
  throw error;
}

function conditionHeader(condition: WriteCondition): Readonly<Record<string, string>> {
  return 'ifEtag' in condition ? { 'if-match': condition.ifEtag } : { 'if-none-match': '*' };
}

function headersOf(options: WriteOptions, writeId: string): Readonly<Record<string, string>> {
  return { ...commonHeaders(options), ...conditionHeader(options.condition), [WRITE_ID_HEADER]: writeId };
}

function commonHeaders({
  metadata,
  contentType,
  contentEncoding,
}: Omit<WriteOptions, 'condition'>): Readonly<Record<string, string>> {
  return {
    'x-ms-blob-content-type': contentType,
    ...(contentEncoding !== undefined && { 'x-ms-blob-content-encoding': contentEncoding }),
    ...metadataHeaders(metadata),
  };
}

const WRITE_ID_HEADER = `x-ms-meta-${WRITE_ID}`;

function metadataHeaders(metadata: WriteOptions['metadata']): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const name of Object.keys(metadata)) headers[`x-ms-meta-${name}`] = checkedValue(name, metadata[name]);
  return headers;
}

async function remove(
  client: AzureClient,
  isConflict: (error: unknown) => boolean,
  name: string,
  { snapshot, ifEtag }: { snapshot?: string; ifEtag?: string },
  signal: AbortSignal,
): Promise<void> {
  const request: BlobRequest = {
    method: 'DELETE',
    name,
    query: snapshot === undefined ? '' : `snapshot=${encodeURIComponent(snapshot)}`,
    headers:
      snapshot === undefined
        ? { 'x-ms-delete-snapshots': 'include', ...(ifEtag !== undefined && { 'if-match': ifEtag }) }
        : {},
  };
  try {
    await client.call(
      {
        what: `delete ${name}`,
        async run(trySignal) {
          try {
            headerOf(await client.send(request, trySignal), REQUEST_ID);
          } catch (error) {
            // A service may look at the condition first; an earlier try may have taken effect.
            if (!isConflict(error) || (await headIfThere(client, name, trySignal)) !== undefined) throw error;
          }
        },
      },
      signal,
    );
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'not-found')) throw error;
  }
}

/** Names come back in lower case and values as header text, so only what survives that is taken. */
function checkedValue(name: string, value = ''): string {
  if (/^[a-z_][a-z0-9_]*$/.test(name) && /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value))
    return value;
  throw new EvictdError('refused', `the metadata ${JSON.stringify(name)} can't be stored as it is`, {
    remedy: 'names are lower-case C# identifiers, values printable ASCII without spaces at their ends',
  });
}
