import { readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createPace } from '../../src/checkpoint/commit/pace.ts';
import { loadConfig } from '../../src/config/load.ts';
import { instanceNamed } from '../../src/daemon/identity.ts';
import { type OpenEngine, openCheckpoints } from '../../src/daemon/wire-checkpoints.ts';
import { readBootId } from '../../src/journal/journal.ts';
import { type Azurite, startAzurite } from '../support/azurite.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { pattern } from '../support/file-tree.ts';
import { type SpotVm, createSpotVm } from '../support/spot-vm.ts';
import { soon } from './support.ts';

vi.setConfig({ testTimeout: PROCESS_TEST_MS });

const MIB = 1024 ** 2;
const INDEX = 'job.index.jsonl';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite?.stop());

/** A VM with a checkpoint, and then nothing but that: no files and no memory of them. */
async function emptiedVm(): Promise<SpotVm> {
  const vm = await createSpotVm({ store: { url: azurite.containerUrl(), auth: { kind: 'azurite' } } });
  await writeFile(join(vm.job, 'large'), pattern(3 * MIB));
  await writeFile(join(vm.job, 'small'), 'all of the work');
  expect(await vm.command('checkpoint')).toMatchObject({ code: 0 });
  await rm(vm.job, { recursive: true });
  await rm(join(vm.folder, 'state'), { recursive: true });
  return vm;
}

/** The daemon's engine, as it comes to this VM. */
async function openEngine(vm: SpotVm): Promise<OpenEngine & AsyncDisposable> {
  const { config } = await loadConfig({ file: vm.configFile, env: {} });
  const { checkpoint } = config;
  if (checkpoint === undefined) throw new Error('this VM has no store');
  const bootId = await readBootId();
  const instance = async () => instanceNamed('fleet_0');
  const engine = await openCheckpoints(
    { config, checkpoint, bootId, instance },
    { clock: systemClock, onNote: () => undefined },
    soon(),
  );
  return { ...engine, [Symbol.asyncDispose]: () => engine.close() };
}

async function pass({ port }: OpenEngine): Promise<number | undefined> {
  const pace = createPace({ bytesPerSecond: 1e9 }, { clock: systemClock });
  expect(await port.stageIdle('job', { idleMs: 0, pace }, soon())).toBeUndefined();
  return port.activity().get('job')?.bytesRead;
}

test('after a restore into its own folder nothing of it is read or sent again', async () => {
  await using vm = await emptiedVm();
  expect(await vm.command('restore')).toMatchObject({ code: 0 });
  await using engine = await openEngine(vm);
  expect(await pass(engine)).toBe(0);
  expect(engine.port.progress()).toMatchObject([{ files: 2, bytesStored: 3 * MIB + 15 }]);
  const taken = await engine.port.commit({ set: 'job', reason: 'command' }, soon());
  expect(taken).toMatchObject({ kind: 'committed', files: 2 });
  expect(engine.port.activity().get('job')?.bytesRead).toBe(0);
});

test('what was written since is read, though its size and time are as before', async () => {
  await using vm = await emptiedVm();
  const restored = await vm.command('restore', '--json');
  await writeFile(join(vm.job, 'small'), 'ALL OF THE WORK');
  await utimes(join(vm.job, 'small'), 1, 1);
  expect(restored).toMatchObject({ code: 0 });
  await using engine = await openEngine(vm);
  expect(await pass(engine)).toBe(15);
  expect(await engine.port.commit({ set: 'job', reason: 'command' }, soon())).toMatchObject({
    kind: 'committed',
  });
  expect((await vm.restored())['small']).toContain('ALL OF THE WORK');
});

test('what was there and equal may be mapped by somebody: it counts as seen just now', async () => {
  await using vm = await emptiedVm();
  expect(await vm.command('restore')).toMatchObject({ code: 0 });
  await rm(join(vm.folder, 'state'), { recursive: true });
  expect(await vm.command('restore', '--force')).toMatchObject({ code: 0 });
  await using engine = await openEngine(vm);
  // Within a minute of that its times say nothing.
  expect(await pass(engine)).toBe(0);
  await engine.port.commit({ set: 'job', reason: 'command' }, soon());
  expect(engine.port.activity().get('job')?.bytesRead).toBeGreaterThanOrEqual(3 * MIB + 15);
});

test('beside a daemon, from another key, elsewhere or in part, it leaves nothing', async () => {
  await using vm = await emptiedVm();
  const state = join(vm.folder, 'state');
  const config = (await loadConfig({ file: vm.configFile, env: {} })).config.checkpoint;
  expect(await vm.command('restore', '--key', String(config?.key))).toMatchObject({ code: 0 });
  expect(await vm.command('restore', '--to', join(vm.folder, 'elsewhere'))).toMatchObject({ code: 0 });
  expect(await vm.command('restore', '--path', 'small')).toMatchObject({ code: 0 });
  expect(await readdir(state).catch(() => [])).not.toContain(INDEX);
  await vm.daemon();
  const { code, output } = await vm.command('restore', '--force');
  expect({ code, isTold: output.includes('state.dir') }).toEqual({ code: 0, isTold: false });
});
