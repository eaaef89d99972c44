import { ContainerClient, StorageSharedKeyCredential } from '@azure/storage-blob';

import { AZURITE_ACCOUNT, AZURITE_KEY } from '../support/azurite.ts';

export interface StoreLook {
  readonly blobs: number;
  /** Those are what pruning has to find by itself. */
  readonly packs: number;
  readonly storedBytes: number;
}

const TAKEOVER = '/00000001.json';

/**
 * What the store holds. Reports of drains are removed, as a rule of the account would after some time, and so are
 * checkpoints beyond the newest `keep`, which pruning itself leaves alone for an hour by the service's clock. What they
 * leave behind is the daemon's to remove.
 */
export async function lookAtStore(containerUrl: string, keep: number): Promise<StoreLook> {
  const credential = new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY);
  const container = new ContainerClient(containerUrl, credential);
  const checkpoints: string[] = [];
  let blobs = 0;
  let packs = 0;
  let storedBytes = 0;
  for await (const { name, properties } of container.listBlobsFlat()) {
    if (name.includes('/reports/')) {
      await container.deleteBlob(name);
      continue;
    }
    if (name.includes('/checkpoints/') && !name.endsWith(TAKEOVER)) checkpoints.push(name);
    if (name.includes('/packs/')) packs++;
    blobs++;
    storedBytes += properties.contentLength ?? 0;
  }
  for (const name of checkpoints.slice(0, -keep)) await container.deleteBlob(name);
  return { blobs, packs, storedBytes };
}
