import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { type Azurite, startAzurite } from '../support/azurite.ts';
import { type Machine, createMachine } from '../support/daemon.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { transcript } from './transcript.ts';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => {
  await azurite?.stop();
});

const MASKS: readonly (readonly [string | RegExp, string])[] = [
  [/127\.0\.0\.1:\d+/g, 'ADDRESS'],
  [/request [0-9a-f-]+/g, 'request N'],
  [/api-version=[\d-]+/g, 'api-version=N'],
  [/of it in the store [\d.]+ \w+/g, 'of it in the store N'],
  [/\d+ failed since/g, 'N failed since'],
  [/(is silent for|answered|about) [\d.]+ m?s/g, '$1 N s'],
];

async function see(machine: Machine, ...args: readonly string[]): Promise<string> {
  return await transcript([...args, '--config', machine.configFile], {
    masks: [[` --config ${machine.configFile}`, ''], [machine.folder, 'FOLDER'], ...MASKS],
  });
}

/** Of the page of metrics, what says how safe the VM is. */
function safetyOf(page: string): string {
  return page
    .split('\n')
    .filter((line) =>
      /^evictd_(?:blind|protected|checkpoint_store_ready|state_writable|phase\{.* 1$)/.test(line),
    )
    .join('\n');
}

async function setOf(machine: Machine, storeUrl: string): Promise<string> {
  const job = join(machine.folder, 'job');
  await mkdir(job);
  await writeFile(join(job, 'step'), 'x'.repeat(5000));
  return `
vm: { name: fleet_0 }
metrics: { listen: 127.0.0.1:0 }
health: { listen: 127.0.0.1:0 }
checkpoint:
  store: { url: "${storeUrl}", auth: { kind: azurite } }
  key: vm-1
  sets: [{ name: job, path: ${job} }]
`;
}

/** What each of these says is read by somebody who is tired: verdict, reason and remedy first. */
it('states in which nothing would be saved look like that everywhere', { timeout: 60_000 }, async () => {
  const texts: string[] = [];
  for (const state of ['no metadata service', 'no store'] as const) {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const isBlind = state === 'no metadata service';
    // Nothing listens on the port that is named here.
    const url = isBlind ? azurite.containerUrl('there') : 'http://127.0.0.1:9/devstoreaccount1/there';
    const config = await setOf(machine, url);
    await using daemon = await machine.start({ imds: isBlind ? 'http://127.0.0.1:9' : imds.url, config });
    const endpoint = async (name: string) =>
      Number(
        (await daemon.waitForLog((one) => one.msg === 'endpoint is open' && one['endpoint'] === name))[
          'port'
        ],
      );
    await daemon.waitForLog(
      ({ msg }) =>
        msg === (isBlind ? 'checkpoint store is ready' : 'checkpoints can not be stored, trying again'),
    );
    const wanted = isBlind ? 'blind' : 'unprotected';
    await expect.poll(async () => (await daemon.status()).protection.verdict).toBe(wanted);
    if (isBlind)
      await expect.poll(async () => (await daemon.status()).sets[0]?.scanned, { timeout: 10_000 }).toBe(true);
    const health = await fetch(`http://127.0.0.1:${await endpoint('health')}/`);
    const metrics = await (await fetch(`http://127.0.0.1:${await endpoint('metrics')}/metrics`)).text();
    texts.push(
      `### ${state}`,
      await see(machine, 'status'),
      await see(machine, 'status', '--check'),
      `health: ${health.status} ${(await health.text()).trim()}`,
      safetyOf(metrics),
      '',
    );
  }
  await expect(texts.join('\n')).toMatchFileSnapshot('golden/states.txt');
});
