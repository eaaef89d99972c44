import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test, vi } from 'vitest';

import { type Azurite, startAzurite } from '../support/azurite.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { createSpotVm } from '../support/spot-vm.ts';
import { openTestStore } from '../support/test-store.ts';

vi.setConfig({ testTimeout: PROCESS_TEST_MS });

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite?.stop());

test('beside a daemon that does not answer it is refused as busy, and writes nothing', async () => {
  const url = azurite.containerUrl();
  await using vm = await createSpotVm({ store: { url, auth: { kind: 'azurite' } } });
  await writeFile(join(vm.job, 'state'), 'all of the work');
  const daemon = await vm.daemon();
  for (const name of ['evictd.sock', 'evictd.sock.owner']) await rm(join(vm.folder, name));
  const { code, output } = await vm.command('checkpoint');
  expect(code).toBe(1);
  expect(output).toContain(`another evictd uses the state.dir ${join(vm.folder, 'state')}`);
  await using store = await openTestStore(url);
  expect(await store.names('fleet_0/sets/')).toEqual([]);

  await daemon.kill();
  expect(await vm.command('checkpoint')).toMatchObject({ code: 0 });
});

test('a daemon goes on from what it has left: nothing is sent again, and nobody has to take the set over', async () => {
  const url = azurite.containerUrl();
  await using vm = await createSpotVm({ store: { url, auth: { kind: 'azurite' } } });
  await writeFile(join(vm.job, 'state'), 'all of the work');
  expect(await vm.command('checkpoint')).toMatchObject({ code: 0 });
  await using store = await openTestStore(url);
  const before = await store.names('fleet_0/sets/');
  await vm.daemon();
  const { output } = await vm.command('checkpoint', '--json');
  expect(JSON.parse(output)).toMatchObject({ sets: [{ kind: 'committed', id: '00000002', bytesSent: 0 }] });
  expect(await store.names('fleet_0/sets/')).toEqual(before);
});
