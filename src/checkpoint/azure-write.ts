import { randomUUID } from 'node:crypto';

import type { BlockBlobClient } from '@azure/storage-blob';

import { EvictdError } from '../base/errors.ts';
import type { AzureClient } from './azure-client.ts';
import { head, required, transferMs, WRITE_ID } from './azure-read.ts';
import type { BlobStore, WriteCondition, WriteOptions, Written } from './store.ts';

type Writer = Pick<BlobStore, 'stageBlock' | 'commitBlocks' | 'put' | 'snapshot' | 'remove'>;

/** The writing half of the store. `isConflict` tells the service's 409 and 412 on a condition from other errors. */
export function createWriter(client: AzureClient, isConflict: (error: unknown) => boolean): Writer {
  return {
    stageBlock: (name, id, body, signal) =>
      client.call(
        {
          what: `stage a block of ${name}`,
          extraMs: transferMs(body.byteLength),
          async run(abortSignal) {
            await client.blob(name).stageBlock(id, body, body.byteLength, { abortSignal });
          },
        },
        signal,
      ),
    commitBlocks: (name, ids, options, signal) =>
      writeOnce(client, isConflict, signal, {
        name,
        options,
        what: `commit ${name}`,
        bytes: 0,
        send: (blob, settings) => blob.commitBlockList([...ids], settings),
      }),
    put: (name, body, options, signal) =>
      writeOnce(client, isConflict, signal, {
        name,
        options,
        what: `write ${name}`,
        bytes: body.byteLength,
        send: (blob, settings) => blob.upload(body, body.byteLength, settings),
      }),
    snapshot: (name, etag, signal) =>
      client.call(
        {
          // A lost answer leaves a second snapshot behind: it shares all blocks with the first and goes with the blob.
          what: `snapshot ${name}`,
          async run(abortSignal) {
            const settings = { abortSignal, conditions: { ifMatch: etag } };
            return required((await client.blob(name).createSnapshot(settings)).snapshot, 'snapshot id');
          },
        },
        signal,
      ),
    remove: (name, options, signal) => remove(client, name, options, signal),
  };
}

interface Write {
  readonly name: string;
  readonly options: WriteOptions;
  readonly what: string;
  readonly bytes: number;
  send(blob: BlockBlobClient, settings: WriteSettings): Promise<{ etag?: string }>;
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
): Promise<Written> {
  const blob = client.blob(write.name);
  const writeId = randomUUID();
  const settings = {
    metadata: { ...checkedMetadata(write.options.metadata), [WRITE_ID]: writeId },
    conditions: conditionsOf(write.options.condition),
    blobHTTPHeaders: { blobContentType: write.options.contentType },
  };
  return client.call(
    {
      what: write.what,
      extraMs: transferMs(write.bytes),
      async run(abortSignal, number) {
        try {
          const { etag } = await write.send(blob, { ...settings, abortSignal });
          return { etag: required(etag, 'ETag') };
        } catch (error) {
          if (number === 1 || !isConflict(error)) throw error;
          const found = await head(blob, abortSignal);
          if (found.writeId !== writeId) throw error;
          return { etag: found.head.etag };
        }
      },
    },
    signal,
  );
}

interface WriteSettings {
  readonly abortSignal: AbortSignal;
  readonly metadata: Record<string, string>;
  readonly conditions: { ifMatch: string } | { ifNoneMatch: string };
  readonly blobHTTPHeaders: { blobContentType: string };
}

async function remove(
  client: AzureClient,
  name: string,
  options: { snapshot?: string; ifEtag?: string },
  signal: AbortSignal,
): Promise<void> {
  const conditions = options.ifEtag === undefined ? {} : { ifMatch: options.ifEtag };
  try {
    await client.call(
      {
        what: `delete ${name}`,
        async run(abortSignal) {
          if (options.snapshot !== undefined) {
            await client.blob(name).withSnapshot(options.snapshot).delete({ abortSignal, conditions });
          } else {
            await client.blob(name).delete({ abortSignal, conditions, deleteSnapshots: 'include' });
          }
        },
      },
      signal,
    );
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'not-found')) throw error;
  }
}

function conditionsOf(condition: WriteCondition): WriteSettings['conditions'] {
  return 'ifEtag' in condition ? { ifMatch: condition.ifEtag } : { ifNoneMatch: '*' };
}

/** Names come back in lower case and values as header text, so only what survives that is taken. */
function checkedMetadata(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  for (const [name, value] of Object.entries(metadata)) {
    if (!/^[a-z_][a-z0-9_]*$/.test(name) || !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
      throw new EvictdError('refused', `the metadata ${JSON.stringify(name)} can't be stored as it is`, {
        remedy: 'names are lower-case C# identifiers, values printable ASCII without spaces at their ends',
      });
    }
  }
  return metadata;
}
