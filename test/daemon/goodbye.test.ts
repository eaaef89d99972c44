import { mkdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createGoodbyes, readGoodbyes } from '../../src/daemon/goodbye.ts';
import { instanceNamed } from '../../src/daemon/identity.ts';
import { openCheckpoints } from '../../src/daemon/wire-checkpoints.ts';
import { readBootId } from '../../src/journal/journal.ts';
import { createLog } from '../../src/observe/log.ts';
import { type Azurite, startAzurite } from '../support/azurite.ts';
import { shiftedClock } from '../support/checkpoints.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { testFolder } from '../support/file-tree.ts';
import { type SpotVm, createSpotVm } from '../support/spot-vm.ts';
import { soon } from './support.ts';

vi.setConfig({ testTimeout: PROCESS_TEST_MS });

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite?.stop());

const destination = { write: (_line: string, done: (isTaken: boolean) => void) => done(true) };
const log = createLog({ level: 'info', journald: false, destination }, { clock: systemClock });

function goodbyes(dir: string, bootId: string, paths: ReadonlyMap<string, string> = new Map()) {
  return createGoodbyes({ dir, bootId, key: 'fleet_0', paths }, { clock: systemClock, log });
}

test('what was said in this boot is of no interest, of earlier ones the last word of each set is', async () => {
  await using folder = await testFolder();
  const dir = folder.path;
  expect(await readGoodbyes(dir, 'now')).toEqual(new Map());
  const before = goodbyes(dir, 'before');
  await Promise.all(['a', 'b', 'c'].map((set) => before.say(set, '00000002', soon())));
  await before.say('a', '00000003', soon());
  await goodbyes(dir, 'now').say('b', '00000004', soon());
  expect(await readGoodbyes(dir, 'now')).toEqual(
    new Map([
      ['a', { bootId: 'before', key: 'fleet_0', id: '00000003' }],
      ['c', { bootId: 'before', key: 'fleet_0', id: '00000002' }],
    ]),
  );
});

test('a note that can not be read is told, and overwritten by the next', async () => {
  await using folder = await testFolder();
  await writeFile(join(folder.path, 'goodbye.json'), '{"version":1,');
  expect(await readGoodbyes(folder.path, 'now')).toBe('unknown');
  await goodbyes(folder.path, 'before').say('a', '00000002', soon());
  expect(await readGoodbyes(folder.path, 'now')).toHaveProperty('size', 1);
});

test('folders are written to disk, for as long as somebody waits; and where nothing can be noted all goes on', async () => {
  await using folder = await testFolder();
  const said = goodbyes(join(folder.path, 'not-there'), 'now', new Map([['a', folder.path]]));
  await expect(said.say('a', '00000002', soon())).resolves.toBeUndefined();
  await expect(said.synced(AbortSignal.abort())).resolves.toBeUndefined();
  await expect(said.synced(soon())).resolves.toBeUndefined();
});

const SAVED = 'what was saved at the notice';
const BEFORE_S = 1_700_000_000;

/** Its folder is marked as restored from 00000002; then work went on, and 00000003 was made for a notice. */
async function evictedVm(): Promise<SpotVm> {
  const vm = await createSpotVm({ store: { url: azurite.containerUrl(), auth: { kind: 'azurite' } } });
  const file = join(vm.job, 'state');
  await writeFile(file, 'early work');
  expect(await vm.command('checkpoint')).toMatchObject({ code: 0 });
  expect(await vm.command('restore', '--force')).toMatchObject({ code: 0 });
  await writeFile(file, SAVED);
  await utimes(file, BEFORE_S, BEFORE_S);
  const { config } = await loadConfig({ file: vm.configFile, env: {} });
  const { checkpoint } = config;
  if (checkpoint === undefined) throw new Error('this VM has no store');
  const engine = await openCheckpoints(
    { config, checkpoint, bootId: await readBootId(), instance: async () => instanceNamed('fleet_0') },
    // Whatever happens to a file from here on was before that, as far as the checkpoint's time goes.
    { clock: shiftedClock(), onNote: () => undefined },
    soon(),
  );
  const taken = await engine.port.commit({ set: 'job', reason: 'notice' }, soon());
  await engine.close();
  expect(taken).toMatchObject({ kind: 'committed' });
  return vm;
}

/** As a disk is that was cut off: the name and the time are there, and not all of the content. */
async function loseTheLastWrites({ job }: SpotVm): Promise<void> {
  await truncate(join(job, 'state'), 4);
  await utimes(join(job, 'state'), BEFORE_S, BEFORE_S);
}

async function newestId(vm: SpotVm): Promise<string> {
  const { output } = await vm.command('checkpoints', '--json');
  const { checkpoints } = JSON.parse(output) as { checkpoints: { id: string }[] };
  return (
    checkpoints
      .map(({ id }) => id)
      .toSorted()
      .at(-1) ?? ''
  );
}

test('after a boot that follows a notice the folder is compared, though it is marked as restored', async () => {
  await using vm = await evictedVm();
  const id = await newestId(vm);
  const state = join(vm.folder, 'state');
  await goodbyes(state, 'before', new Map([['job', vm.job]])).say('job', id, soon());
  await loseTheLastWrites(vm);
  const first = await vm.command('restore', '--json');
  expect(JSON.parse(first.output)).toMatchObject({ sets: [{ outcome: 'restored', id }] });
  expect(await readFile(join(vm.job, 'state'), 'utf8')).toBe(SAVED);
  const second = await vm.command('restore', '--json');
  expect(JSON.parse(second.output)).toMatchObject({ sets: [{ outcome: 'already-restored', id }] });
});

test('after a notice in the same boot it is left as it is, and so is newer work after the next one', async () => {
  await using vm = await evictedVm();
  const id = await newestId(vm);
  const state = join(vm.folder, 'state');
  await goodbyes(state, await readBootId()).say('job', id, soon());
  const same = await vm.command('restore', '--json');
  expect(JSON.parse(same.output)).toMatchObject({ sets: [{ outcome: 'already-restored' }] });
  await goodbyes(state, 'before').say('job', id, soon());
  await writeFile(join(vm.job, 'state'), 'work that came after');
  const later = (Date.now() + 2 * 3_600_000) / 1000;
  await utimes(join(vm.job, 'state'), later, later);
  const next = await vm.command('restore', '--json');
  expect(JSON.parse(next.output)).toMatchObject({ sets: [{ outcome: 'newer-on-disk', path: 'state' }] });
});

test('a daemon notes what a notice has saved before it acknowledges', async () => {
  await using vm = await createSpotVm({ store: { url: azurite.containerUrl(), auth: { kind: 'azurite' } } });
  await writeFile(join(vm.job, 'state'), SAVED);
  const state = join(vm.folder, 'state');
  await mkdir(state, { recursive: true });
  await vm.daemon();
  let atAck: unknown;
  using _ = vm.imds.subscribe(({ kind }) => {
    if (kind === 'ack') atAck = readGoodbyes(state, 'the next boot');
  });
  const id = vm.preempt();
  await vm.imds.waitForAck(id, AbortSignal.timeout(25_000));
  expect(await atAck).toEqual(
    new Map([['job', { bootId: await readBootId(), key: 'fleet_0', id: '00000002' }]]),
  );
  await rm(join(state, 'goodbye.json'));
});
