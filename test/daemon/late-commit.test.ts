import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { startAzurite, type Azurite } from '../support/azurite.ts';
import { createBlobProxy } from '../support/blob-proxy.ts';
import { createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { openTestStore } from '../support/test-store.ts';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

it('what the window was too short for is saved after it, and the report says so', async () => {
  await using imds = await startTestImds();
  await using machine = await createMachine();
  await using proxy = await createBlobProxy(azurite.containerUrl());
  const data = join(machine.folder, 'data');
  await mkdir(data);
  await writeFile(join(data, 'weights.bin'), 'as good as trained');
  await using daemon = await machine.start({
    imds: imds.url,
    config: `window: { notice: 3s, urgent: 3s, reserve: 1s }
checkpoint:
  store: { url: "${proxy.url}", auth: { kind: azurite } }
  key: line
  sets: [{ name: job, path: ${data} }]
  background: false
`,
  });
  await daemon.waitForLog(({ msg }) => msg === 'checkpoint store is ready');
  // Nothing of the set can be written until the window is over.
  let isOver = false;
  proxy.fail({
    fault: { kind: 'status', status: 500 },
    match: ({ method, path }) => !isOver && method === 'PUT' && path.includes('/job/'),
    times: 1e6,
  });
  const { id } = imds.addEvent({ notBefore: '3s', autoStart: false });
  await daemon.waitForLog(isNote('drain-ended', { outcome: 'failure' }));
  isOver = true;
  const saved = await daemon.waitForLog(isNote('set-ended', { result: 'committed', late: true }), 30_000);
  expect(saved).toMatchObject({ level: 'info', set: 'job', files: 1 });
  expect((await daemon.status()).drain?.sets).toMatchObject([{ state: 'committed', late: true }]);
  expect(imds.acks()).toEqual([]);

  await using store = await openTestStore(proxy.url);
  await expect
    .poll(async () => JSON.parse(await store.text(`line/reports/${id}.json`)) as unknown)
    .toMatchObject({ outcome: 'failure', sets: [{ name: 'job', state: 'committed', late: true }] });
});
