import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  AccountSASPermissions,
  generateAccountSASQueryParameters,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { AZURITE_ACCOUNT, AZURITE_KEY } from '../support/azurite.ts';
import { until } from '../support/nspawn.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { OUTSIDE_SERVICE, type Rig, bootRig } from './rig.ts';

const UNIT = 'evictd.service';
const CONFIG = `
hooks:
  - { name: drain, run: [/etc/evictd/drain], timeout: 20s }
checkpoint:
  store: { url: "http://127.0.0.1:10000/devstoreaccount1/checkpoints", auth: { kind: sas, file: /run/credentials/evictd.service/sas } }
  background: false
  sets: [{ name: job, path: /var/lib/job }]
`;
const SAS = generateAccountSASQueryParameters(
  {
    services: 'b',
    resourceTypes: 'sco',
    permissions: AccountSASPermissions.parse('rwdlc'),
    expiresOn: new Date(Date.now() + 3_600_000),
  },
  new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY),
).toString();
const { missing } = ensureDebianPackages(['systemd-container', 'mmdebstrap']);

describe.skipIf(process.getuid?.() !== 0 || missing.length > 0)('a shutdown of the machine', () => {
  let rig: Rig;
  let out = '';
  beforeAll(async () => {
    out = await mkdtemp(join(tmpdir(), 'evictd-shutdown-'));
    await mkdir(join(out, 'azurite'));
    rig = await bootRig({
      config: CONFIG,
      scripts: {
        drain: '#!/bin/sh\nuntil [ -e /run/may-end ]; do sleep 0.05; done\necho ended >> /out/hooks\n',
      },
      // The machine's own journal is gone with it.
      units: {
        'evictd.service.d/log.conf':
          '[Service]\nStandardOutput=append:/out/evictd.log\nStandardError=journal\n',
        // As the README of the units says.
        'evictd.service.d/secret.conf': '[Service]\nLoadCredential=sas:/etc/credstore/evictd.sas\n',
        'evictd-restore.service.d/secret.conf': `[Service]
LoadCredential=sas:/etc/credstore/evictd.sas
Environment=EVICTD_CHECKPOINT_STORE_AUTH_FILE=/run/credentials/evictd-restore.service/sas
`,
      },
      binds: [
        { host: out, inside: '/out', isWritable: true },
        { host: new URL('../../node_modules', import.meta.url).pathname, inside: '/srv/node_modules' },
      ],
    });
    const azurite = [
      'node',
      '/srv/node_modules/azurite/dist/src/blob/main.js',
      '--silent',
      '--skipApiVersionCheck',
      '--disableTelemetry',
    ];
    await rig.machine.output([...OUTSIDE_SERVICE, ...azurite, '--location', '/out/azurite']);
    await rig.machine.output(['install', '-d', '-m', '700', '/etc/credstore']);
    await rig.machine.output(['tee', '/etc/credstore/evictd.sas'], { stdin: SAS });
    const container = `http://127.0.0.1:10000/devstoreaccount1/checkpoints?restype=container&${SAS}`;
    await rig.machine.output([
      'curl',
      '--silent',
      '--fail',
      '--retry-connrefused',
      '--retry',
      '20',
      '--retry-delay',
      '1',
      '--request',
      'PUT',
      container,
    ]);
    await rig.machine.output(['systemctl', 'start', 'evictd-restore.service'], { timeoutMs: 20_000 });
    // Owned and readable by another user only, as the files of a workload are.
    await rig.machine.output(['install', '-d', '-o', 'nobody', '-m', '700', '/var/lib/job']);
    await rig.machine.output(['install', '-o', 'nobody', '-m', '600', '/etc/hostname', '/var/lib/job/state']);
    await rig.machine.output(['systemctl', 'start', UNIT], { timeoutMs: 20_000 });
    await until('the store', () => logged('checkpoint store is ready'));
  }, 240_000);
  afterAll(async () => {
    await rig?.[Symbol.asyncDispose]();
    await rm(out, { recursive: true, force: true });
  });

  async function log(): Promise<Record<string, unknown>[]> {
    const lines = (await readFile(join(out, 'evictd.log'), 'utf8')).split('\n');
    // The last one may be half-written; each is an object, or the test fails.
    return lines.slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>);
  }
  const logged = async (message: string) => (await log()).findLast(({ msg }) => msg === message);

  test('is not what a restart of the service is', async () => {
    await rig.machine.output(['systemctl', 'restart', UNIT], { timeoutMs: 20_000 });
    expect(await logged('evictd stopped')).toBeDefined();
    expect(await logged('checkpoint taken')).toBeUndefined();
    // Such as that others may read the secret.
    expect(await logged('configuration')).toBeUndefined();
  }, 150_000);

  test('comes after a restore that has its own copy of the secret', async () => {
    expect(await rig.property('evictd-restore.service', 'ActiveState')).toBe('active');
    // Nothing was there yet.
    expect(await rig.property('evictd-restore.service', 'ExecMainStatus')).toBe('3');
  });

  test('without a notice ends with a last checkpoint', async () => {
    await rig.machine.output(['systemctl', 'poweroff', '--no-block']);
    const taken = await until('the checkpoint', () => logged('checkpoint taken'));
    expect(taken).toMatchObject({ set: 'job', reason: 'shutdown', files: 1 });
    await until('the end', async () => (await log()).at(-1)?.['msg'] === 'evictd stopped');
    // Where Azurite writes what it has, now and then.
    const names = join(out, 'azurite/__azurite_db_blob__.json');
    const manifest = `fleet_2/sets/job/checkpoints/${String(taken['id'])}.json`;
    await until(manifest, async () => (await readFile(names, 'utf8')).includes(manifest));
  }, 150_000);
});
