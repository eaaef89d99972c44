import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

import { type Azurite, startAzurite } from '../support/azurite.ts';
import { type ProxiedRequest, createBlobProxy, operations } from '../support/blob-proxy.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { readTree } from '../support/file-tree.ts';
import { createSpotVm } from '../support/spot-vm.ts';
import { writeJob } from './crash-rig.ts';

vi.setConfig({ testTimeout: PROCESS_TEST_MS });

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => {
  await azurite?.stop();
});

describe('two VMs with one checkpoint.key', () => {
  /** Two VMs on one store, the first by a proxy; each has its own files, and so much that a mixture would show. */
  async function createPair() {
    const url = azurite.containerUrl();
    const proxy = await createBlobProxy(url);
    const create = async (name: string, storeUrl: string, version: number) => {
      const store = { url: storeUrl, auth: { kind: 'azurite' as const } };
      const vm = await createSpotVm({ store, key: 'shared', scenario: { vm: { name } } });
      await writeJob(vm.job, version);
      return vm;
    };
    const [one, two] = [await create('fleet_1', proxy.url, 1), await create('fleet_2', url, 2)];
    return {
      one,
      two,
      proxy,
      async [Symbol.asyncDispose]() {
        await Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()]);
        await proxy.close();
      },
    };
  }

  test('at the same time: one gets a conflict that names the other, and nothing is mixed', async () => {
    await using pair = await createPair();
    const { one, two, proxy } = pair;
    // The first has the set and sends; the second does all of its checkpoint meanwhile.
    const sends = (request: ProxiedRequest) => operations.put(request) && request.path.includes('/packs/');
    // Unanswered tries take seconds each, so there is time for the second however slow the machine is.
    proxy.fail({ fault: { kind: 'hang' }, match: sends, times: Infinity });
    await using _daemon = await one.daemon();
    const late = one.command('checkpoint');
    await proxy.arrived(sends);
    expect(await two.command('checkpoint')).toMatchObject({ code: 0 });
    proxy.reset();
    const { code, output } = await late;
    expect(code).toBe(1);
    expect(output.split('\n')).toEqual([
      expect.stringMatching(/^evictd: job: another writer .*fleet_2.*conflict/),
    ]);
    expect(await two.restored()).toEqual(await readTree(two.job));
  });

  test('one after the other: who comes back to it has one conflict in its drain, and does not acknowledge', async () => {
    await using pair = await createPair();
    const { one, two } = pair;
    const daemon = await one.daemon();
    expect(await one.command('checkpoint')).toMatchObject({ code: 0 });
    // As a replacement does: it goes on from what it finds.
    expect(await two.command('checkpoint')).toMatchObject({ code: 0 });
    await writeJob(one.job, 3);
    one.preempt();
    await daemon.line('drain-ended', { outcome: 'failure' });
    await daemon.line('ack-withheld', { reason: 'unsuccessful' });
    const ends = daemon.log.filter((line) => line.code === 'set-ended');
    expect(ends).toMatchObject([{ level: 'error', result: 'failed', failure: 'conflict', set: 'job' }]);
    expect(ends[0]?.['detail']).toContain('fleet_2');
    expect(one.imds.acks()).toEqual([]);
    expect(await two.restored()).toEqual(await readTree(two.job));
  });

  test('after a conflict nothing is written until --take-over, which goes on from what the other one left', async () => {
    await using pair = await createPair();
    const { one, two, proxy } = pair;
    await one.daemon();
    expect(await one.command('checkpoint')).toMatchObject({ code: 0 });
    expect(await two.command('checkpoint')).toMatchObject({ code: 0 });
    const conflict = /^evictd: job: another writer .*fleet_2.*--take-over.*\(conflict\)/;
    expect(await one.command('checkpoint')).toMatchObject({
      code: 1,
      output: expect.stringMatching(conflict),
    });
    proxy.reset();
    expect(await one.command('checkpoint')).toMatchObject({
      code: 1,
      output: expect.stringMatching(conflict),
    });
    expect(proxy.requests).toEqual([]);

    const taken = await one.command('checkpoint', '--take-over', '--json');
    expect(taken.code).toBe(0);
    // After each takeover a checkpoint: of the first, of the second, and now this.
    expect(JSON.parse(taken.output)).toMatchObject({ sets: [{ kind: 'committed', id: '00000006' }] });
    expect(await one.restored()).toEqual(await readTree(one.job));
    await writeJob(one.job, 3);
    expect(await one.command('checkpoint')).toMatchObject({ code: 0 });
    expect(await two.restored()).toEqual(await readTree(one.job));
  });
});
