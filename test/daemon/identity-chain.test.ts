import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

import {
  AZURITE_ACCOUNT,
  AZURITE_KEY,
  type Azurite,
  signatureFor,
  startAzurite,
} from '../support/azurite.ts';
import { type EvictdProcess, PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { readTree } from '../support/file-tree.ts';
import { type SpotVm, type SpotVmOptions, createSpotVm } from '../support/spot-vm.ts';
import { type TestStore, openTestStore } from '../support/test-store.ts';

const CLIENT_ID = '3f2504e0-4f89-41d3-9a0c-0305e82c3301';
const CONTAINER = 'checkpoints';
/** How every token of the mock begins. */
const TOKEN_HEAD = Buffer.from(JSON.stringify({ typ: 'JWT', alg: 'none' })).toString('base64url');

vi.setConfig({ testTimeout: PROCESS_TEST_MS });

let azurite: Azurite;
let folder: string;
let operator: TestStore;

beforeAll(async () => {
  azurite = await startAzurite({ oauth: true });
  folder = await mkdtemp(join(tmpdir(), 'evictd-secrets-'));
  await writeFile(join(folder, 'ca.pem'), azurite.ca ?? '');
  operator = await openTestStore(azurite.containerUrl(CONTAINER), azurite.ca);
  await operator.ensureContainer(new AbortController().signal);
});
afterAll(async () => {
  await operator.close();
  await azurite.stop();
  await rm(folder, { recursive: true, force: true });
});

type Auth = NonNullable<NonNullable<SpotVmOptions['store']>['auth']>;

/** A VM on the HTTPS store, under a prefix of its own, that trusts the store's certificate. */
async function createVm(name: string, auth: Auth, options: SpotVmOptions = {}): Promise<SpotVm> {
  const vm = await createSpotVm({
    store: { url: `${azurite.containerUrl(CONTAINER)}/${name}`, auth },
    ca: azurite.ca,
    env: { NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem') },
    scenario: { token: { clientIds: [CLIENT_ID] }, service: { startAfterAck: '0s', startedFor: '10m' } },
    ...options,
  });
  await writeFile(join(vm.job, 'state'), 'all of the work\n');
  return vm;
}

describe('the managed identity', () => {
  const auth: Auth = { kind: 'managed-identity', clientId: CLIENT_ID };

  test('opens the store, and the drain goes through to the acknowledgement', async () => {
    await using vm = await createVm('chain', auth, { hooks: [{ name: 'stop' }] });
    const daemon = await vm.daemon();
    const id = vm.preempt();
    await vm.imds.waitForAck(id, AbortSignal.timeout(25_000));
    await daemon.line('drain-ended', { outcome: 'success' });
    const asked = vm.imds.requests().find(({ path }) => path.includes('/identity/oauth2/token'));
    expect(asked).toMatchObject({ method: 'GET', status: 200 });
    expect(Object.fromEntries(new URLSearchParams(asked?.path.split('?')[1]))).toMatchObject({
      resource: 'https://storage.azure.com',
      client_id: CLIENT_ID,
    });
    expect(await vm.restored()).toEqual(await readTree(vm.job));
    const to = join(vm.folder, 'by-command');
    expect(await vm.command('restore', '--to', to)).toMatchObject({ code: 0 });
    expect(await readTree(to)).toEqual(await readTree(vm.job));
  });

  test('that is refused at first is told of with a remedy; hooks run meanwhile, and then all goes on', async () => {
    await using vm = await createVm('late-token', auth, { hooks: [{ name: 'stop' }] });
    vm.imds.fault({ kind: 'status', status: 400, on: 'token' });
    const daemon = await vm.start();
    expect(await daemon.line('checkpoints can not be stored, trying again')).toMatchObject({
      level: 'error',
      code: 'no-token',
      remedy: expect.stringContaining('az vm identity show'),
    });
    const id = vm.preempt();
    await daemon.line('hook-ended', { hook: 'stop', result: 'succeeded' });
    expect(vm.imds.acks()).toEqual([]);
    vm.imds.clearFaults();
    await daemon.line('set-ended', { result: 'committed' });
    await vm.imds.waitForAck(id, AbortSignal.timeout(25_000));
    expect(await vm.restored()).toEqual(await readTree(vm.job));
  });
});

interface Credential {
  readonly name: string;
  readonly works: boolean;
  /** Writes what the config names, and answers it with what must not be seen anywhere. */
  readonly make: () => Promise<{ readonly auth: Auth; readonly secrets: readonly string[] }>;
}

/** The value of `sig`, as it stands in the URL and as it is. */
function signaturesOf(query: string): string[] {
  const raw = /sig=([^&]+)/.exec(query)?.[1] ?? '';
  return [raw, decodeURIComponent(raw)];
}

async function secretFile(name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, `${text}\n`, { mode: 0o600 });
  return file;
}

async function sas(name: string, query: string) {
  const auth: Auth = { kind: 'sas', file: await secretFile(name, query) };
  return { auth, secrets: signaturesOf(query) };
}

async function connectionString(name: string, key: string) {
  const text = `DefaultEndpointsProtocol=https;AccountName=${AZURITE_ACCOUNT};AccountKey=${key}`;
  const auth: Auth = { kind: 'connection-string', file: await secretFile(name, text) };
  return { auth, secrets: [key, key.slice(0, 40)] };
}

const CREDENTIALS: readonly Credential[] = [
  {
    name: 'identity',
    works: true,
    make: async () => ({
      auth: { kind: 'managed-identity', clientId: CLIENT_ID },
      secrets: [TOKEN_HEAD],
    }),
  },
  { name: 'sas', works: true, make: () => sas('sas', signatureFor(CONTAINER, 'rwdlc')) },
  {
    name: 'wrong sas',
    works: false,
    make: () =>
      sas(
        'wrong-sas',
        signatureFor(CONTAINER, 'rwdlc').replace(/sig=[^&]+/, `sig=${'Zm9vYmFy'.repeat(5)}MDE%3D`),
      ),
  },
  { name: 'connection string', works: true, make: () => connectionString('account', AZURITE_KEY) },
  {
    name: 'wrong connection string',
    works: false,
    make: () => connectionString('wrong-account', Buffer.alloc(64, 'not the key').toString('base64')),
  },
];

/** All blobs of the VM, the saved files included, as one text. */
async function storedTexts(prefix: string): Promise<string> {
  let texts = '';
  for (const name of await operator.names(`${prefix}/`)) texts += `${name}\n${await operator.text(name)}\n`;
  return texts;
}

async function keptTexts(vm: SpotVm): Promise<string> {
  const found = await readdir(join(vm.folder, 'state'), { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  return (await Promise.all(files.map((file) => readFile(file, 'utf8')))).join('\n');
}

async function drain(vm: SpotVm, daemon: EvictdProcess, works: boolean): Promise<void> {
  await daemon.line(works ? 'checkpoint store is ready' : 'checkpoints can not be stored, trying again');
  vm.preempt(works ? '30s' : '3s');
  await daemon.line('drain-ended', { outcome: works ? 'success' : 'failure' });
}

test.for(CREDENTIALS)('$name: its secret is seen nowhere, though a hook prints it', async (credential) => {
  const { auth, secrets } = await credential.make();
  const printed =
    'file' in auth ? `cat ${auth.file} >&2; cat ${auth.file}` : `echo "Bearer ${TOKEN_HEAD}.e30."`;
  const prefix = credential.name.replaceAll(' ', '-');
  await using vm = await createVm(prefix, auth, {
    hooks: [{ name: 'careless', script: printed }],
    config: { log: { level: 'trace' } },
  });
  const daemon = await vm.start();
  await drain(vm, daemon, credential.works);
  const status = await vm.command('status', '--json');
  const checkpoint = await vm.command('checkpoint');
  expect(checkpoint).toMatchObject({ code: credential.works ? 0 : 1 });
  await daemon.stop();
  const alone = await vm.command('restore', '--to', join(vm.folder, 'restored'));
  expect(alone).toMatchObject({ code: credential.works ? 0 : 1 });

  const said = [daemon.output(), status.output, checkpoint.output, alone.output].join('\n');
  const stored = await storedTexts(prefix);
  const seen = `${said}\n${stored}\n${await keptTexts(vm)}`;
  for (const secret of secrets) expect(seen).not.toContain(secret);
  // What was looked through is what it should be.
  expect(said).toContain('[redacted]');
  for (const part of ['/reports/', '/checkpoints/', '/packs/']) {
    expect(stored.includes(part)).toBe(credential.works);
  }
  if (!credential.works) {
    const told = await daemon.line('checkpoints can not be stored, trying again');
    expect(told).toMatchObject({ level: 'error', remedy: expect.any(String) });
  }
});
