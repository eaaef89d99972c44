import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import { openCredential } from '../../../src/checkpoint/store/azure/credentials.ts';
import { parseStoreUrl } from '../../../src/checkpoint/store/azure/url.ts';

/* What people really paste into files for secrets. */

const TARGET = parseStoreUrl('https://acct.blob.core.windows.net/ckpt');
const KEY = Buffer.alloc(64, 7).toString('base64');

let folder: string;
let files = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-pasted-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function secret(text: string | Buffer): Promise<string> {
  const file = join(folder, `secret-${++files}`);
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

/** The error with which a file is refused, as an operator sees it. It shows nothing of what is in the file. */
async function refusalOf(kind: 'sas' | 'connection-string', text: string | Buffer): Promise<string> {
  const auth = { kind, file: await secret(text) };
  const error: unknown = await openCredential(auth, TARGET).catch((reason: unknown) => reason);
  if (!(error instanceof EvictdError)) throw new Error('it is taken');
  expect(error).toMatchObject({ code: 'bad-credential', message: expect.stringContaining(auth.file) });
  expect(error.remedy).toBeTruthy();
  const shown = inspect(error, { depth: 10, showHidden: true });
  for (const hidden of [SIG, decodeURIComponent(SIG), KEY]) expect(shown).not.toContain(hidden);
  return `${error.message} (${error.remedy})`;
}

const SIG = 'jWgE%2Fq3S%2BXyzw%3D';
const TOKEN = `sv=2024-11-04&st=2026-01-01T00:00:00Z&spr=https,http&sr=c&sp=rwdlc&sig=${SIG}`;

test.each([
  ['as it is', TOKEN],
  ['with its question mark', `?${TOKEN}`],
  ['with Windows line ends', `${TOKEN}\r\n\r\n`],
  ['after a byte order mark', `\uFEFF${TOKEN}\n`],
  ['in the quotes that az prints', `"${TOKEN}"\n`],
  ['in the quotes of a shell', `'?${TOKEN}'\n`],
  ['as JSON', JSON.stringify(TOKEN).replaceAll('&', String.raw`\u0026`)],
  ['as the one field of a JSON object', JSON.stringify({ sas: TOKEN }, null, 2)],
  ['with the whole URL', `https://acct.blob.core.windows.net/ckpt?${TOKEN}`],
  ['with the URL in quotes', `"https://acct.blob.core.windows.net/ckpt/?${TOKEN}"`],
  ['with the URL of a prefix', `https://acct.blob.core.windows.net/ckpt/fleet?${TOKEN}`],
  ['with the URL of the account', `https://acct.blob.core.windows.net/?${TOKEN}`],
  ['decoded by something on the way', TOKEN.replace(SIG, 'jWgE/q3S+Xyzw=')],
])('a token is taken %s', async (_, text) => {
  const credential = await openCredential({ kind: 'sas', file: await secret(text) }, TARGET);
  expect(credential).toMatchObject({ kind: 'signature' });
  const query = 'query' in credential ? credential.query : '';
  expect(query).toMatch(/^sv=2024-11-04&.*sig=/);
  // As the service reads it.
  expect(new URL(`https://a/?${query}`).searchParams.get('sig')).toBe(decodeURIComponent(SIG));
});

test('a token is taken from UTF-16, as PowerShell writes', async () => {
  const file = await secret(Buffer.from(`\uFEFF${TOKEN}\r\n`, 'utf16le'));
  expect(await openCredential({ kind: 'sas', file }, TARGET)).toMatchObject({ query: TOKEN });
});

test.each([
  ['the URL of another account', `https://other.blob.core.windows.net/ckpt?${TOKEN}`, 'acct/ckpt'],
  ['the URL of another container', `https://acct.blob.core.windows.net/logs?${TOKEN}`, 'acct/ckpt'],
  ['a URL in the clear', `http://acct.blob.core.windows.net/ckpt?${TOKEN}`, 'acct/ckpt'],
  ['a URL without a token', 'https://acct.blob.core.windows.net/ckpt', 'no shared access signature'],
  ['an assignment', `export AZURE_STORAGE_SAS_TOKEN="${TOKEN}"`, 'assigns a variable'],
  ['an assignment without quotes', `AZURE_STORAGE_SAS_TOKEN=${TOKEN}`, 'assigns a variable'],
  ['an assignment of PowerShell', `$env:SAS = "${TOKEN}"`, 'assigns a variable'],
  ['a field of YAML', `sas: "${TOKEN}"`, 'assigns a variable'],
  ['a name before it', `sas=${TOKEN}`, 'something before'],
  ['a comment after it', `${TOKEN} # until 2027`, 'more than one word'],
  ['a comment before it', `# until 2027\n${TOKEN}`, 'more than one line'],
  ['two tokens', `${TOKEN}\n${TOKEN}`, 'more than one line'],
  ['two tokens on a line', `${TOKEN}&${TOKEN}`, 'something before'],
  ['a quote at one end', `"${TOKEN}`, 'quotes'],
  ['typographic quotes', `“${TOKEN}”`, 'quotes'],
  ['a comma after it', `${TOKEN},`, 'comma'],
  ['entities of HTML', TOKEN.replaceAll('&', '&amp;'), 'something before'],
  ['a second encoding', TOKEN.replaceAll('%', '%25'), 'encoded once'],
  ['an invisible character', `\u200b${TOKEN}`, "can't be seen"],
  ['an account key', KEY, 'no shared access signature'],
  ['a connection string', `BlobEndpoint=https://acct/;SharedAccessSignature=${TOKEN}`, 'connection string'],
  ['nothing', '\n', 'no shared access signature'],
])('a file with %s for a token is refused without showing it', async (_, text, problem) => {
  expect(await refusalOf('sas', text)).toContain(problem);
});

const STRING = `DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=${KEY};EndpointSuffix=core.windows.net`;

test.each([
  ['in quotes', `"${STRING}"\r\n`],
  ['as az prints it', JSON.stringify({ connectionString: STRING }, null, 2)],
  ['after a byte order mark', `\uFEFF${STRING}`],
])('a connection string is taken %s', async (_, text) => {
  const file = await secret(text);
  expect(await openCredential({ kind: 'connection-string', file }, TARGET)).toMatchObject({ key: KEY });
});

test.each([
  ['an assignment', `export AZURE_STORAGE_CONNECTION_STRING="${STRING}"`, 'assigns a variable'],
  ['an assignment without quotes', `AZURE_STORAGE_CONNECTION_STRING=${STRING}`, 'assigns a variable'],
  ['a comment after it', `AccountName=acct;AccountKey=${KEY} # old`, 'no usable connection string'],
  ['a token', TOKEN, 'kind: sas'],
  ['a URL with a token', `https://acct.blob.core.windows.net/ckpt?${TOKEN}`, 'kind: sas'],
  ['the key for the account', `AccountName=${KEY};AccountKey=acct`, 'another account'],
])('a file with %s for a connection string is refused without showing it', async (_, text, problem) => {
  expect(await refusalOf('connection-string', text)).toContain(problem);
});

test('bytes that are no text are refused without showing them', async () => {
  expect(await refusalOf('sas', Buffer.from([0x73, 0x69, 0x67, 0x3d, 0xff, 0x80]))).toContain('is not text');
});
