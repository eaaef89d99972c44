import { expect, test } from 'vitest';

import { createAzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import { simulate } from '../bench/throttled.ts';
import { startAzurite } from '../support/azurite.ts';
import { createBlobProxy, operations } from '../support/blob-proxy.ts';
import { committed, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';

const MIB = 1024 ** 2;

test('a store that refuses half of all requests gets everything, each block and file once', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const small = Array.from({ length: 12 }, (_, number) => `small-${number}`);
  for (const name of small) await writeTree(from.path, { [name]: { kind: 'file', content: name } });
  await writeTree(from.path, { large: { kind: 'file', content: pattern(12 * MIB) } });
  const azurite = await startAzurite();
  await using proxy = await createBlobProxy(azurite.containerUrl());
  const store = await createAzureBlobStore({
    url: proxy.url,
    auth: { kind: 'azurite' },
    // A second is cut to this, so that the test needn't wait.
    limits: { retryAfterMsMax: 2, firstDelayMs: 1, delayMsMax: 2 },
  });
  await store.ensureContainer(AbortSignal.timeout(10_000));
  proxy.reset();
  let count = 0;
  proxy.fail({
    fault: {
      kind: 'status',
      status: 503,
      headers: { 'x-ms-error-code': 'ServerBusy', 'retry-after': '1' },
    },
    match: () => count++ % 2 === 0,
    times: 1e6,
  });
  await committed(testCheckpointer(store, from.path));
  const served = proxy.requests.filter(({ status }) => status !== 503);
  expect(served.filter(operations.stageBlock)).toHaveLength(3);
  expect(served.filter(({ path, method }) => method === 'PUT' && path.includes('small-'))).toHaveLength(
    2 * small.length,
  );
  expect(proxy.requests.length - served.length).toBeGreaterThanOrEqual(served.length - 1);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  store.stop();
  await azurite.stop();
  // Each refusal costs a wait, and Azurite needs most of a small machine.
}, 60_000);

test.for([undefined, 1])(
  'a fleet that is evicted at once shares what the account can do (Retry-After: %s)',
  async (retryAfterS) => {
    const { failed, leastS, lastS, firstS } = await simulate({
      name: 'small',
      clients: 60,
      blocks: 8,
      // Simulated time: the same at each run.
      account: { requestsPerSecond: 60, bytesPerSecond: 1e12, retryAfterS },
    });
    expect(failed).toBe(0);
    expect(leastS).toBeCloseTo(11);
    expect(lastS).toBeLessThan(leastS * 1.25);
    expect(firstS).toBeLessThan(leastS);
  },
);
