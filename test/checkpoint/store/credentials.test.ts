import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { type AzureStoreOptions, createAzureStore } from '../../../src/checkpoint/store/azure/azure-store.ts';
import { parseStoreUrl } from '../../../src/checkpoint/store/azure/url.ts';
import { openCredential, type StoreAuth } from '../../../src/checkpoint/store/azure/credentials.ts';
import {
  AZURITE_ACCOUNT,
  AZURITE_KEY,
  signatureFor,
  startAzurite,
  type Azurite,
} from '../../support/azurite.ts';
import { createBlobProxy } from '../../support/blob-proxy.ts';

const TARGET = parseStoreUrl('https://acct.blob.core.windows.net/ckpt');
const KEY = Buffer.alloc(64, 7).toString('base64');
const { signal } = new AbortController();

let azurite: Azurite;
let folder: string;
let files = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-credentials-'));
  azurite = await startAzurite();
});
afterAll(async () => {
  await azurite.stop();
  await rm(folder, { recursive: true });
});

async function secret(text: string, mode = 0o600): Promise<string> {
  const file = join(folder, `secret-${++files}`);
  await writeFile(file, text);
  // Apart from the creation, which the umask would have a say in.
  await chmod(file, mode);
  return file;
}

const open = (options: AzureStoreOptions) => createAzureStore(options, { clock: systemClock });

async function roundTrip(url: string, auth: StoreAuth): Promise<string> {
  const store = await open({ url, auth });
  try {
    const name = `a b/${++files}#%?`;
    await store.create(name, Buffer.from('content'), { contentType: 'text/plain' }, signal);
    const { items } = await store.list('a b/', {}, signal);
    const content = Buffer.from(await store.read(name, { bytesMax: 10 }, signal)).toString();
    await store.remove(name, signal);
    return items.map((item) => item.name).join() === name ? content : 'not listed';
  } finally {
    await store.close();
  }
}

test('a connection string, an emulator’s shorthand and a shared access signature each open the store', async () => {
  const url = azurite.containerUrl('shared');
  const owner = await open({ url, auth: { kind: 'azurite' } });
  await owner.ensureContainer(signal);
  await owner.close();
  const sas = signatureFor('shared', 'rwdlc');
  const texts = [
    `DefaultEndpointsProtocol=http;AccountName=${AZURITE_ACCOUNT};AccountKey=${AZURITE_KEY};BlobEndpoint=${azurite.origin}/x;\n`,
    'UseDevelopmentStorage=true',
    `BlobEndpoint=${azurite.origin}/${AZURITE_ACCOUNT};SharedAccessSignature=${sas}`,
  ];
  for (const text of texts) {
    expect(await roundTrip(url, { kind: 'connection-string', file: await secret(text) })).toBe('content');
  }
  expect(await roundTrip(url, { kind: 'sas', file: await secret(`?${sas}\n`) })).toBe('content');
});

test('a signature that may not write is forbidden, and its error names the rights but not the signature', async () => {
  const url = azurite.containerUrl('readonly');
  const owner = await open({ url, auth: { kind: 'azurite' } });
  await owner.ensureContainer(signal);
  await owner.close();
  const query = signatureFor('readonly', 'r');
  const failure = await failureOf(roundTrip(url, { kind: 'sas', file: await secret(query) }));
  expect(failure).toMatchObject({
    code: 'forbidden',
    remedy: expect.stringContaining('rwdlc'),
  });
  expectNoSecret(failure, query);
});

test('a wrong key is unauthenticated, not forbidden', async () => {
  await using proxy = await createBlobProxy(azurite.containerUrl('shared'));
  // Azure's answer; the emulator says AuthorizationFailure, as it does for everything.
  const headers = { 'x-ms-error-code': 'AuthenticationFailed', 'x-ms-request-id': 'r1' };
  proxy.fail({ fault: { kind: 'status', status: 403, headers } });
  const file = await secret(`AccountName=${AZURITE_ACCOUNT};AccountKey=${KEY}`);
  const failure = await failureOf(roundTrip(proxy.url, { kind: 'connection-string', file }));
  expect(failure).toMatchObject({
    code: 'unauthenticated',
    remedy: expect.stringMatching(new RegExp(`check AccountKey in ${file}: .* clock`)),
  });
  expectNoSecret(failure, KEY);
});

test('no error of any kind shows a signature, however the request fails', async () => {
  await using proxy = await createBlobProxy(azurite.containerUrl('shared'));
  const query = signatureFor('shared', 'rwdlc');
  const file = await secret(query);
  // The service quotes the request in some of its messages.
  const body = `<Error><Code>AuthenticationFailed</Code><Message>The MAC in ${proxy.url}?${query}</Message></Error>`;
  const headers = { 'content-type': 'application/xml' };
  const faults = [
    { kind: 'status', status: 403, headers, body },
    { kind: 'status', status: 500, headers: { 'content-type': 'application/xml' }, body: `<broken ${query}` },
    { kind: 'status', status: 200, headers, body },
    { kind: 'status', status: 307, headers: { location: `${proxy.url}?${query}` } },
    { kind: 'reset' },
    { kind: 'hang' },
  ] as const;
  for (const fault of faults) {
    proxy.reset();
    proxy.fail({ fault, times: 99 });
    const limits = { tryTimeoutMs: 100, triesMax: 2, firstDelayMs: 1 };
    const store = await open({ url: proxy.url, auth: { kind: 'sas', file }, limits });
    const outcomes = await Promise.allSettled([
      store.read('x', { bytesMax: 1 }, signal),
      store.list('x', {}, signal),
      store.create('x', Buffer.of(1), { contentType: 'text/plain' }, signal),
      store.remove('x', signal),
      store.ensureContainer(signal),
    ]);
    for (const outcome of outcomes) {
      expect(outcome.status).toBe('rejected');
      expectNoSecret(outcome, query);
    }
    await store.close();
  }
});

test.each([
  ['a key without its account', `AccountKey=${KEY}`],
  ['an account without its key', 'AccountName=acct'],
  ['a key that is no base64', 'AccountName=acct;AccountKey=not a key'],
  ['another account', `AccountName=other;AccountKey=${KEY}`],
  ['nothing', ''],
])('a connection string with %s is refused without showing it', async (_, text) => {
  const file = await secret(text);
  const failure = await failureOf(openCredential({ kind: 'connection-string', file }, TARGET));
  expect(failure).toMatchObject({ code: 'bad-credential', message: expect.stringContaining(file) });
  expectNoSecret(failure, KEY);
});

test.each(['', 'sv=1&se=2', 'sig=a b', 'sig=a\nsig=b'])('the signature %j is refused', async (text) => {
  const failure = await failureOf(openCredential({ kind: 'sas', file: await secret(text) }, TARGET));
  expect(failure).toMatchObject({ code: 'bad-credential' });
});

test('a file that others may write, a missing one, a folder and a huge one are refused', async () => {
  const auth = (file: string) => openCredential({ kind: 'sas', file }, TARGET);
  for (const mode of [0o620, 0o602, 0o666]) {
    const failure = await failureOf(auth(await secret('sig=x', mode)));
    expect(failure).toMatchObject({ code: 'bad-credential', remedy: expect.stringContaining('chmod go-w') });
  }
  expect(await auth(await secret('sig=x', 0o640))).toMatchObject({
    kind: 'signature',
    query: 'sig=x',
  });
  await expect(auth(join(folder, 'missing'))).rejects.toMatchObject({
    message: expect.stringContaining('does not exist'),
  });
  await expect(auth(folder)).rejects.toMatchObject({ code: 'bad-credential' });
  await expect(auth(await secret(`sig=${'x'.repeat(70_000)}`))).rejects.toMatchObject({
    code: 'bad-credential',
  });
});

test('an identity over http and the emulator’s key on a real account are refused', async () => {
  const emulator = parseStoreUrl('http://127.0.0.1:10000/devstoreaccount1/ckpt');
  await expect(openCredential({ kind: 'managed-identity' }, emulator)).rejects.toMatchObject({
    code: 'bad-credential',
  });
  await expect(openCredential({ kind: 'azurite' }, TARGET)).rejects.toMatchObject({ code: 'bad-credential' });
});

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error('it should have failed');
}

/** Looks at all that a log could ever print of an error, causes and hidden fields too. */
function expectNoSecret(error: unknown, text: string): void {
  const shown = inspect(error, { depth: 10, showHidden: true });
  const signature = new URLSearchParams(text).get('sig') ?? text;
  expect(shown).not.toContain(signature);
  expect(shown).not.toContain(encodeURIComponent(signature));
}
