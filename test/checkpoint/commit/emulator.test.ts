import { open } from 'node:fs/promises';

import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { createCheckpointer } from '../../../src/checkpoint/commit/checkpointer.ts';
import { restoreSet } from '../../../src/checkpoint/restore/restore-set.ts';
import type { SetOptions } from '../../../src/checkpoint/scan/set-options.ts';
import { createWorkers } from '../../../src/checkpoint/worker/create-workers.ts';
import type { Workers } from '../../../src/checkpoint/worker/workers.ts';
import { type Azurite, startAzurite } from '../../support/azurite.ts';
import { type BlobProxy, createBlobProxy, operations } from '../../support/blob-proxy.ts';
import { PLACE, committed, commitJob, never } from '../../support/checkpoints.ts';
import { pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { MIB } from './rig.ts';

/*
 * The same engine on Azurite, with its threads: what a store in memory can't prove is that the requests are right.
 * Its speed says nothing about the real service.
 */

let azurite: Azurite;

beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

/** A process of its own: threads, and a checkpointer for one set. */
async function startProcess(
  url: string,
  path: string,
  { vmName = 'vm-1', set = {} }: { readonly vmName?: string; readonly set?: Partial<SetOptions> } = {},
) {
  // A second is cut to this, so that no test has to wait.
  const limits = { retryAfterMsMax: 2, firstDelayMs: 1, delayMsMax: 2 };
  const workers = createWorkers({ url, auth: { kind: 'azurite' }, limits }, { clock: systemClock });
  onTestFinished(() => workers.close());
  await workers.store.ensureContainer(never());
  const checkpointer = createCheckpointer(
    {
      prefix: PLACE.prefix,
      key: PLACE.key,
      sets: [{ name: PLACE.set, path, include: ['**'], exclude: [], priority: 50, ...set }],
      writer: { vmName, vmId: `id-of-${vmName}`, bootId: 'boot' },
    },
    { store: workers.store, workers, clock: systemClock },
  );
  onTestFinished(() => checkpointer.close());
  return { checkpointer, workers };
}

async function expectRestored(workers: Workers, from: string, at?: string): Promise<void> {
  await using to = await testFolder();
  await restoreSet(
    { place: PLACE, target: to.path, durable: false, ...(at !== undefined && { at }) },
    { store: workers.store, workers, clock: systemClock },
    never(),
  );
  expect(await readTree(to.path)).toEqual(await readTree(from));
}

const isPack = ({ path }: { readonly path: string }) => path.includes('/packs/');

async function proxied(): Promise<BlobProxy> {
  const proxy = await createBlobProxy(azurite.containerUrl());
  onTestFinished(() => proxy.close());
  return proxy;
}

test('1,000 small files and one of 64 MiB; then one changed chunk sends that only; both restore', async () => {
  await using from = await testFolder();
  const big = `${from.path}/model.bin`;
  await writeTree(from.path, {
    'model.bin': { kind: 'file', content: pattern(64 * MIB) },
    ...Object.fromEntries(
      Array.from({ length: 1000 }, (_, i) => [
        `shard-${i % 10}/${i}.json`,
        { kind: 'file', content: `{"i":${i}}` },
      ]),
    ),
  });
  const proxy = await proxied();
  const { checkpointer, workers } = await startProcess(proxy.url, from.path);
  expect(await committed(checkpointer)).toMatchObject({ id: '00000002', files: 1001 });
  expect(proxy.requests.filter(operations.put).length).toBeLessThan(40);
  await expectRestored(workers, from.path);
  proxy.reset();
  {
    await using handle = await open(big, 'r+');
    await handle.write('one changed place', 50 * MIB);
  }
  const second = await committed(checkpointer);
  expect(second).toMatchObject({ id: '00000003', files: 1001 });
  expect(second.bytesSent).toBeLessThan(1.1 * MIB);
  const puts = proxy.requests.filter(operations.put);
  expect(puts.filter(isPack)).toHaveLength(2);
  expect(puts).toHaveLength(3);
  await expectRestored(workers, from.path);
}, 120_000);

test('odd names, links, empty files and folders go to the service and come back, compressed or not', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    'line\nbreak': { kind: 'file', content: '1' },
    '100%/50%25': { kind: 'file', content: '2' },
    'back\\slash': { kind: 'file', content: '3' },
    'dots./trailing..': { kind: 'file', content: '4' },
    ' blank ': { kind: 'file', content: '5' },
    '\xff\xfe bytes': { kind: 'file', content: '6' },
    '\xc3\xbc a?b#c&d+e': { kind: 'file', content: '7' },
    ['\xe6\x97\xa5'.repeat(85)]: { kind: 'file', content: '8' },
    [`${`${'d'.repeat(250)}/`.repeat(5)}deep`]: { kind: 'file', content: '9' },
    nothing: { kind: 'file', content: '' },
    'folder/empty': { kind: 'folder', mode: 0o700 },
    link: { kind: 'link', target: '../outside' },
    text: { kind: 'file', content: '{"loss":0.5,"step":"unknown"}\n'.repeat(100_000) },
  });
  for (const compress of ['none', 'zstd'] as const) {
    const url = azurite.containerUrl();
    const { checkpointer } = await startProcess(url, from.path, { set: { compress } });
    const { bytesSent } = await committed(checkpointer);
    expect(bytesSent < MIB).toBe(compress === 'zstd');
    // Another process, with nothing but what the service lists, finds all of it there.
    const next = await startProcess(url, from.path);
    const again = await committed(next.checkpointer);
    expect(again.id).toBe('00000002');
    expect(again.bytesSent).toBeLessThan(10_000);
    await expectRestored(next.workers, from.path);
  }
});

test('of two writers of one key the first one has a conflict', async () => {
  await using one = await testFolder();
  await using other = await testFolder();
  await writeTree(one.path, { state: { kind: 'file', content: 'one' } });
  await writeTree(other.path, { state: { kind: 'file', content: 'other' } });
  const url = azurite.containerUrl();
  const first = await startProcess(url, one.path, { vmName: 'fleet_1' });
  const second = await startProcess(url, other.path, { vmName: 'fleet_2' });
  await committed(first.checkpointer);
  await committed(second.checkpointer);
  const result = await commitJob(first.checkpointer);
  expect(result).toMatchObject({ kind: 'failed', code: 'conflict', retryable: false });
  expect(result.kind === 'failed' && result.detail).toContain('fleet_2');
  await expectRestored(second.workers, other.path);
});

test('a commit that is cut off by its deadline leaves what was sent for the next one', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(96 * MIB) } });
  const proxy = await proxied();
  const { checkpointer, workers } = await startProcess(proxy.url, from.path);
  const deadline = new AbortController();
  const commit = commitJob(checkpointer, deadline.signal);
  await proxy.arrived((request) => operations.put(request) && isPack(request), 6);
  deadline.abort(new Error('the window is over'));
  expect(await commit).toMatchObject({ kind: 'failed', retryable: true });
  await checkpointer.stage('job', never());
  await committed(checkpointer);
  const bytes = proxy.requests.filter(isPack).reduce((sum, request) => sum + request.bytes, 0);
  expect(bytes).toBeLessThan((96 + 72) * MIB);
  await expectRestored(workers, from.path);
});

test('a store that refuses half of all requests, or loses answers, gets everything', async () => {
  await using from = await testFolder();
  const small = Array.from({ length: 12 }, (_, number) => `small-${number}`);
  for (const name of small) await writeTree(from.path, { [name]: { kind: 'file', content: name } });
  await writeTree(from.path, { large: { kind: 'file', content: pattern(30 * MIB) } });
  const proxy = await proxied();
  const { checkpointer, workers } = await startProcess(proxy.url, from.path);
  let count = 0;
  const busy = { status: 503, headers: { 'x-ms-error-code': 'ServerBusy', 'retry-after': '1' } };
  proxy.fail({ fault: { kind: 'status', ...busy }, match: () => count++ % 2 === 0, times: 1e6 });
  proxy.fail({ fault: { kind: 'drop-answer' }, match: operations.put, times: 3 });
  await committed(checkpointer);
  // Whatever was tried again, there is one of each.
  const stored = proxy.requests.filter(({ status, ...request }) => status === 201 && isPack(request));
  expect(new Set(stored.map(({ path }) => path)).size).toBe(stored.length);
  proxy.reset();
  await expectRestored(workers, from.path);
});
