import { AssertionFailed } from '../base/assert.ts';
import { EvictdError } from '../base/errors.ts';
import type { AzureClient } from './azure-client.ts';
import { BadStatus } from './azure-errors.ts';
import { REQUEST_ID } from './azure-get.ts';
import { getOf, transferMs } from './azure-read.ts';
import { headerOf } from './azure-answer.ts';
import type { FetchInto } from './azure-request.ts';
import type { ReadFailure, FetchResult } from './read-job.ts';
import type { DownloadOptions } from './store.ts';

/*
 * INVARIANTS
 * - One try at a time writes to the file: one that took too long is waited for, although nobody wants its outcome any
 *   more. The thread ends it at once when it is told to.
 */

/** See `BlobStore.download`. */
export async function downloadBlocks(
  client: AzureClient,
  name: string,
  { snapshot, offset, fd, blocks, lengths, hashKey, reader }: DownloadOptions,
  signal: AbortSignal,
): Promise<number | undefined> {
  const bytes = lengths.reduce((sum, length) => sum + length, 0);
  const request = getOf(name, snapshot, { offset, count: bytes });
  const into: FetchInto = { bytes, blocks, lengths, hashKey, fd, position: offset, reader };
  let busy: Promise<unknown> = Promise.resolve();
  const attempt = {
    what: `read ${name}`,
    extraMs: transferMs(bytes),
    isAlone: true,
    async run(trySignal: AbortSignal) {
      await busy;
      const fetching = client.fetch(request, into, trySignal);
      busy = Promise.allSettled([fetching]);
      const result = await fetching;
      switch (result.kind) {
        case 'fetched':
        case 'failed':
          return result;
        case 'refused':
          return ofRefused(result, bytes);
        case 'broken':
          throw Object.assign(new Error('the connection failed'), { code: result.errno });
        default:
          throw new AssertionFailed(`a thread answered ${result.kind}`);
      }
    },
  };
  let result: ReadFailure | (FetchResult & { kind: 'fetched' });
  try {
    result = await client.call(attempt, signal);
  } finally {
    await busy;
  }
  if (result.kind === 'fetched') return result.wrong;
  throw Object.assign(new Error(result.message), { code: result.errno });
}

/** What keeps an answer from being all of the range. Less than there should be is content that is not what it was. */
function ofRefused(
  { status, headers: list }: FetchResult & { kind: 'refused' },
  bytes: number,
): FetchResult & { kind: 'fetched' } {
  const headers = new Map(list);
  // The service's answer to a range that begins after the end.
  const isBeyond = status === 416 && headers.get('x-ms-error-code') === 'InvalidRange';
  if (isBeyond) return { kind: 'fetched', wrong: 0 };
  if (status < 200 || status >= 300) throw new BadStatus({ status, headers });
  headerOf(headers, REQUEST_ID);
  const length = Number(headerOf(headers, 'content-length'));
  if (length < bytes) return { kind: 'fetched', wrong: 0 };
  throw new EvictdError('bad-answer', `the answer has ${length} bytes, not the ${bytes} that were asked for`);
}
