import { spawn } from 'node:child_process';
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { loadConfig } from '../../src/config/load.ts';
import { examine } from '../../src/daemon/doctor.ts';
import type { Patient } from '../../src/daemon/doctor-facts.ts';
import type { Finding } from '../../src/daemon/doctor-finding.ts';
import { judgeHardLinks } from '../../src/daemon/doctor-machine.ts';
import { checkFit } from '../../src/daemon/doctor-store.ts';
import type { Status } from '../../src/daemon/status.ts';
import {
  AZURITE_ACCOUNT,
  AZURITE_KEY,
  signatureFor,
  startAzurite,
  type Azurite,
} from '../support/azurite.ts';
import { createMachine, type Machine } from '../support/daemon.ts';
import { startTestImds } from '../support/mock-imds.ts';

let azurite: Azurite;
let machine: Machine;
let job: string;
beforeAll(async () => {
  azurite = await startAzurite();
  machine = await createMachine();
  job = join(machine.folder, 'job');
  await mkdir(job);
  await writeFile(join(job, 'f'), 'content');
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
  await azurite.stop();
});

const MIB = 1024 ** 2;

function storeConfig(url: string, auth = '{ kind: azurite }'): string {
  return `checkpoint:
  store: { url: "${url}", auth: ${auth} }
  sets: [{ name: job, path: ${job} }]
  background: false
`;
}

async function patientOf(env: Patient['env'] = { PATH: process.env['PATH'] }): Promise<Patient> {
  return {
    loaded: await loadConfig({ file: machine.configFile, env: {} }),
    clock: systemClock,
    env,
    onProgress: () => undefined,
    daemon: undefined,
    instance: undefined,
  };
}

async function examined(config: string, imds: string, env?: Patient['env']): Promise<readonly Finding[]> {
  await machine.configure({ imds, config });
  const told: Finding[] = [];
  const findings = await examine(
    await patientOf(env),
    (finding) => told.push(finding),
    new AbortController().signal,
  );
  expect(told).toEqual(findings);
  return findings;
}

/** One line each, without what differs from machine to machine. */
function lines(findings: readonly Finding[], ...checks: readonly string[]): string[] {
  return findings
    .filter(({ check }) => checks.length === 0 || checks.includes(check))
    .map(({ check, state, text, remedy }) =>
      [`${state} ${check}: ${text}`, ...(remedy === undefined ? [] : [remedy])]
        .join(' → ')
        .replaceAll(machine.folder, 'DIR')
        .replaceAll(/127\.0\.0\.1:\d+/g, 'IMDS')
        .replaceAll(/container-\d+/g, 'CONTAINER')
        .replace(/request [0-9a-f-]{36}/, 'request N')
        .replace(/process \d+/, 'process N')
        .replace(/in \d+(?:\.\d+)? m?s/, 'in N ms')
        .replace(/[\d.]+ [KMGT]iB free/, 'N free')
        .replace(/up to \d+ open/, 'up to N open'),
    );
}

describe('the doctor', () => {
  it('finds all in order beside a running daemon, and leaves nothing behind', async () => {
    const url = azurite.containerUrl();
    await using imds = await startTestImds();
    const config = storeConfig(url);
    await using daemon = await machine.start({ imds: imds.url, config });
    await daemon.waitForLog(({ msg }) => msg === 'checkpoint store is ready');
    const bytesLeft = async () => (await daemon.status()).upload.bytesLeft;
    await expect.poll(bytesLeft, { timeout: 20_000 }).toBe(7);
    await expect.poll(async () => (await daemon.status()).poll.lastGoodAgoMs).toBeDefined();
    const findings = await examined(config, imds.url);
    expect(lines(findings.filter(({ check }) => check !== 'unit'))).toEqual([
      'ok config: DIR/etc/config.yaml, DIR/etc/conf.d/zz-test.yaml',
      'ok metadata: http://IMDS answers: this VM is fleet_0, of the scale set fleet, westeurope',
      'ok spot: a Spot VM, eviction policy Delete',
      'ok events: enabled, api-version 2024-07-09, answered in N ms, no event for this VM',
      'ok events: the clock agrees with the metadata service',
      'ok proxy: no proxy variable would capture the metadata service',
      'ok watchers: no other program is known to watch Scheduled Events here',
      'ok daemon: evictd runs (process N), watching',
      'ok state: state.dir: DIR/state has N free',
      'ok state: the journal is readable',
      'ok limits: up to N open files',
      'ok hooks: none are configured',
      'ok sets: set job: DIR/job can be read',
      'ok store: container CONTAINER of account devstoreaccount1 is reachable, key fleet_0',
      'ok store: writing, listing, reading and removing work',
      'ok window: a notice now has 7 B to move, about 500 ms at an assumed 50 MiB/s',
    ]);
    const service = new BlobServiceClient(
      azurite.origin + `/${AZURITE_ACCOUNT}`,
      new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY),
    );
    const names: string[] = [];
    for await (const { name } of service.getContainerClient(url.split('/').at(-1) ?? '').listBlobsFlat())
      names.push(name);
    expect(names).toEqual([]);
  });

  it('finds that a notice would save nothing: no hook and no set, or a set without files', async () => {
    await using imds = await startTestImds();
    expect(lines(await examined('{}', imds.url), 'hooks', 'sets')).toEqual([
      'fail hooks: neither hooks nor checkpoint sets are configured: nothing would be saved, and the event acknowledged at once → write the config; `evictd config reference` explains every key, README has one',
    ]);
    const empty = join(machine.folder, 'empty');
    await mkdir(empty);
    const config = storeConfig(azurite.containerUrl()).replace(job, empty);
    expect(lines(await examined(config, imds.url), 'sets')).toEqual([
      "warn sets: set job: DIR/empty is empty → nothing to do, unless the set's path is another",
    ]);
  });

  it('warns where users may link files that they can not read', () => {
    expect(judgeHardLinks('1\n')).toEqual([]);
    expect(judgeHardLinks('0\n')).toMatchObject([
      { state: 'warn', text: expect.stringMatching(/^fs\.protected_hardlinks is 0/) },
    ]);
  });

  it('finds what is wrong with the metadata service, the VM and its clock', async () => {
    await using imds = await startTestImds({ vm: { priority: 'Regular' } });
    imds.shiftClock('20m');
    imds.addEvent({ id: 'E1', type: 'Freeze', notBefore: '10m' });
    const named = await examined('vm: { name: other_1 }', imds.url);
    expect(lines(named, 'metadata', 'spot', 'events')).toEqual([
      'ok metadata: http://IMDS answers: this VM is fleet_0, of the scale set fleet, westeurope',
      'fail metadata: vm.name is other_1, but events name this VM fleet_0: none of its events would be noticed → leave out vm.name',
      'warn spot: not a Spot VM (priority Regular): it gets no Preempt events, others it does → create the VM with --priority Spot if it should be one',
      'ok events: enabled, api-version 2024-07-09, answered in N ms, no event for this VM',
      expect.stringMatching(
        /^fail events: the clock of this VM is (?:19|20) min .* behind: the store refuses .* → synchronise it/,
      ),
    ]);
    imds.shiftClock('0s');
    expect(lines(await examined('', imds.url), 'events')[0]).toBe(
      'warn events: enabled, api-version 2024-07-09, answered in N ms; announced for this VM: Freeze E1',
    );
    imds.fault({ kind: 'status', status: 500, on: 'all' });
    expect(lines(await examined('', imds.url), 'metadata', 'spot', 'events')).toEqual([
      expect.stringMatching(/^fail metadata: .*500/),
      'warn spot: not known whether this is a Spot VM: the metadata service does not say',
      expect.stringMatching(/^fail events: .*500/),
    ]);
  });

  it('finds proxies, other watchers, and that evictd is not running', async () => {
    await using imds = await startTestImds();
    const watcher = join(machine.folder, 'jetpackd');
    await copyFile('/usr/bin/sleep', watcher);
    const child = spawn(watcher, ['60'], { stdio: 'ignore' });
    try {
      const findings = await examined('', imds.url, { http_proxy: 'http://user:secret@proxy:3128' });
      expect(lines(findings, 'proxy', 'watchers', 'daemon')).toEqual([
        'warn proxy: http_proxy in the environment: evictd uses no proxy, but other programs would ask it for the metadata service → add 169.254.169.254 to no_proxy and NO_PROXY',
        "warn watchers: CycleCloud's agent (jetpack) (process N) also watches Scheduled Events: it may acknowledge what evictd still drains for → set cyclecloud.monitor_scheduled_events = false in the cluster template",
        'fail daemon: evictd is not running: an eviction now would not be noticed → systemctl enable --now evictd',
      ]);
    } finally {
      child.kill();
    }
    const exempt = { http_proxy: 'http://proxy', no_proxy: 'localhost,169.254.169.254' };
    expect(lines(await examined('', imds.url, exempt), 'proxy')).toEqual([
      'ok proxy: no proxy variable would capture the metadata service',
    ]);
  });

  it('finds what is wrong with hooks, sets and the state', async () => {
    await using imds = await startTestImds();
    const config = `hooks: [{ name: gone, run: [/nonexistent/stop] }]
state: { dir: ${machine.folder}/other }
checkpoint:
  store: { url: "${azurite.containerUrl()}", auth: { kind: azurite } }
  sets: [{ name: none, path: ${machine.folder}/none }, { name: file, path: ${job}/f }]
`;
    expect(lines(await examined(config, imds.url), 'hooks', 'sets', 'state')).toEqual([
      'warn state: state.dir: DIR/other is not there yet → the daemon makes it at its start',
      expect.stringMatching(
        /^fail hooks: .*hook "gone" would fail: \/nonexistent\/stop does not exist.* → install it/,
      ),
      "fail sets: set none: DIR/none does not exist → create it, or correct the set's path",
      'fail sets: set file: DIR/job/f is not a folder',
    ]);
    await mkdir(join(machine.folder, 'other'));
    await writeFile(join(machine.folder, 'other', 'journal.json'), 'not json');
    expect(lines(await examined(config, imds.url), 'state')).toEqual([
      'ok state: state.dir: DIR/other has N free',
      expect.stringMatching(
        /^warn state: DIR\/other\/journal.json can't be read: not JSON: .* → nothing to do/,
      ),
    ]);
    await rm(join(machine.folder, 'other'), { recursive: true });
  });

  it('tells a missing container, a missing right and a missing network apart', async () => {
    await using imds = await startTestImds();
    const url = azurite.containerUrl();
    const container = url.split('/').at(-1) ?? '';
    const key = new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY);
    const sas = join(machine.folder, 'sas');
    const may = (permissions: string) =>
      writeFile(sas, signatureFor(container, permissions), { mode: 0o600 });
    const found = async (at = url) =>
      lines(await examined(storeConfig(at, `{ kind: sas, file: ${sas} }`), imds.url), 'store');
    await may('rwdlc');
    expect(await found()).toEqual([
      'fail store: could not reach the container: HTTP 404 ContainerNotFound (request N) → create it: az storage container create --account-name devstoreaccount1 --name CONTAINER --auth-mode login',
    ]);
    const service = new BlobServiceClient(azurite.origin + `/${AZURITE_ACCOUNT}`, key);
    await service.createContainer(container);
    await may('rl');
    expect(await found()).toEqual([
      'ok store: container CONTAINER of account devstoreaccount1 is reachable, key fleet_0',
      expect.stringMatching(
        /^fail store: evictd may not write blobs below fleet_0\/drill\/doctor\/: .* HTTP 403 .* → check the shared access signature in .* needs rwdlc/,
      ),
    ]);
    await may('rwlc');
    expect(await found()).toEqual([
      'ok store: container CONTAINER of account devstoreaccount1 is reachable, key fleet_0',
      expect.stringMatching(
        /^fail store: evictd may not remove blobs below .*: could not remove fleet_0\/drill\/doctor\/probe-\S+: HTTP 403 .* needs rwdlc/,
      ),
    ]);
    expect(await found(url.replace(/:\d+\//, ':9/'))).toEqual([
      expect.stringMatching(
        /^fail store: could not reach the container: the connection to .* failed with ECONNREFUSED/,
      ),
    ]);
  });
});

describe('what a notice would have to move', () => {
  it.each([
    [10 * MIB, 'ok', '10.0 MiB to move, about 600 ms at the measured 100.0 MiB/s'],
    [
      1000 * MIB,
      'warn',
      '1000.0 MiB to move, about 10.5 s at the measured 100.0 MiB/s: notices of less than 8.0 s happen',
    ],
    [
      4000 * MIB,
      'fail',
      '3.9 GiB to move, about 40.5 s at the measured 100.0 MiB/s: more than the 28.0 s of window.notice',
    ],
  ])('%d bytes: %s', async (bytesLeft, state, text) => {
    await machine.configure({ imds: 'http://127.0.0.1:1', config: storeConfig(azurite.containerUrl()) });
    const upload = { bytesLeft, bytesPerSecond: 100 * MIB, expectedMs: 0, windowMs: 30_000 };
    // Nothing else of it is looked at.
    const daemon = { upload } as Status;
    const found = await checkFit({ ...(await patientOf()), daemon }, new AbortController().signal);
    expect(found).toMatchObject([{ state, text: `a notice now has ${text}` }]);
  });
});
