import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { startAzurite } from '../support/azurite.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { readTree } from '../support/file-tree.ts';
import { createQuirkProxy } from '../support/quirk-proxy.ts';
import { createSpotVm } from '../support/spot-vm.ts';

test(
  'the next daemon removes what the evictions before it have left over',
  async () => {
    await using azurite = await startAzurite();
    // What was written within the last hour is left alone.
    await using store = await createQuirkProxy(azurite.containerUrl(), ['later'], { aheadMs: 2 * 3_600_000 });
    await using vm = await createSpotVm({
      store: { url: store.url, auth: { kind: 'azurite' } },
      checkpoint: { keep: 1 },
    });
    for (const id of ['00000002', '00000003']) {
      await writeFile(join(vm.job, 'model'), `before ${id}`);
      const daemon = await vm.daemon();
      const event = vm.preempt();
      await daemon.line('set-ended', { id });
      await daemon.line('drain-ended');
      await daemon.kill();
      vm.imds.withdraw(event);
    }
    const daemon = await vm.daemon();
    const line = await daemon.line('older checkpoints removed');
    expect(line).toMatchObject({ set: 'job', removed: ['00000002'] });
    expect(await vm.restored()).toEqual(await readTree(vm.job));
  },
  PROCESS_TEST_MS,
);
