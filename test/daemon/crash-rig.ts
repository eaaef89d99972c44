import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'vitest';

import type { Azurite } from '../support/azurite.ts';
import { type BlobProxy, createBlobProxy } from '../support/blob-proxy.ts';
import { pattern, readTree } from '../support/file-tree.ts';
import { type SpotVm, type SpotVmOptions, createSpotVm } from '../support/spot-vm.ts';

const MIB = 1024 ** 2;
/** Full ones, of `model.bin`. */
export const PACKS = 3;
const PACK_BYTES = 8 * MIB;
export const NOTICE = '10m';

/** A VM whose store is behind a proxy, with a first checkpoint, and then files that have all changed. */
export interface CrashRig extends AsyncDisposable {
  readonly vm: SpotVm;
  readonly proxy: BlobProxy;
  readonly before: Record<string, string>;
  readonly after: Record<string, string>;
}

export async function createRig(azurite: Azurite, options: SpotVmOptions = {}): Promise<CrashRig> {
  const proxy = await createBlobProxy(azurite.containerUrl());
  const hooks = [
    { name: 'early', order: 10, script: '' },
    { name: 'late', stage: 'after-checkpoint' as const, script: '' },
  ];
  const store = { url: proxy.url, auth: { kind: 'azurite' as const } };
  // However slow the machine is, no drain of these tests runs out of time.
  const config = { window: { notice: NOTICE } };
  const vm = await createSpotVm({ store, hooks, config, ...options });
  await writeJob(vm.job, 1);
  const before = await readTree(vm.job);
  expect(await vm.command('checkpoint')).toMatchObject({ code: 0 });
  await rm(join(vm.job, 'logs/only-1'));
  await writeJob(vm.job, 2);
  const after = await readTree(vm.job);
  proxy.reset();
  return {
    vm,
    proxy,
    before,
    after,
    async [Symbol.asyncDispose]() {
      await vm[Symbol.asyncDispose]();
      await proxy.close();
    },
  };
}

/** A version of everything in the set; only names can be alike between two. */
export async function writeJob(job: string, version: number): Promise<void> {
  await mkdir(join(job, 'logs'), { recursive: true });
  await writeFile(join(job, 'model.bin'), pattern(PACKS * PACK_BYTES, version));
  await writeFile(join(job, 'step'), `step ${version}\n`);
  await writeFile(join(job, `logs/only-${version}`), `log of ${version}\n`);
}
