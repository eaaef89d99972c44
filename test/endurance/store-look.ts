import {
  type BlockBlobClient,
  ContainerClient,
  RestError,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';

import { AZURITE_ACCOUNT, AZURITE_KEY } from '../support/azurite.ts';

export interface StoreLook {
  readonly blobs: number;
  /** Of all blobs, also of those that have no others. */
  readonly uncommittedBlocks: number;
}

/** What the store holds, and the reports of drains removed, as a rule of the account would after some time. */
export async function lookAtStore(containerUrl: string): Promise<StoreLook> {
  const container = new ContainerClient(
    containerUrl,
    new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY),
  );
  let blobs = 0;
  let uncommittedBlocks = 0;
  for await (const { name } of container.listBlobsFlat({ includeUncommitedBlobs: true })) {
    const blob = container.getBlockBlobClient(name);
    if (name.includes('/reports/')) {
      await blob.delete();
      continue;
    }
    blobs++;
    uncommittedBlocks += await uncommitted(blob);
  }
  return { blobs, uncommittedBlocks };
}

async function uncommitted(blob: BlockBlobClient): Promise<number> {
  try {
    return (await blob.getBlockList('uncommitted')).uncommittedBlocks?.length ?? 0;
  } catch (error) {
    // Retention has just removed it.
    if (error instanceof RestError && error.statusCode === 404) return 0;
    throw error;
  }
}
