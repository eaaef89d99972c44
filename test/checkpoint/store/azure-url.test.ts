import { expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import { parseStoreUrl } from '../../../src/checkpoint/store/azure/url.ts';

test.each([
  ['https://acct.blob.core.windows.net/ckpt', 'acct', 'ckpt', '', false],
  ['https://acct.blob.core.windows.net/ckpt/', 'acct', 'ckpt', '', false],
  ['https://acct.blob.core.windows.net/ckpt/fleet/a%20b/', 'acct', 'ckpt', 'fleet/a b', false],
  ['https://acct.blob.core.chinacloudapi.cn/ckpt/p', 'acct', 'ckpt', 'p', false],
  ['https://acct.privatelink.blob.core.windows.net/ckpt', 'acct', 'ckpt', '', false],
  ['https://acct.z12.blob.storage.azure.net/ckpt', 'acct', 'ckpt', '', false],
  ['http://127.0.0.1:10000/devstoreaccount1/ckpt/p/q', 'devstoreaccount1', 'ckpt', 'p/q', true],
  ['http://localhost:10000/devstoreaccount1/ckpt', 'devstoreaccount1', 'ckpt', '', true],
  ['http://[::1]:10000/devstoreaccount1/ckpt', 'devstoreaccount1', 'ckpt', '', true],
  ['https://10.1.2.3/acct/ckpt', 'acct', 'ckpt', '', true],
  ['http://devstoreaccount1.blob.localhost:10000/ckpt', 'devstoreaccount1', 'ckpt', '', false],
])('%s is taken apart', (url, account, container, prefix, pathStyle) => {
  expect(parseStoreUrl(url)).toMatchObject({ account, container, prefix, pathStyle });
});

test('the container’s URL holds neither prefix nor trailing slash', () => {
  expect(parseStoreUrl('https://acct.blob.core.windows.net/ckpt/p/').containerUrl).toBe(
    'https://acct.blob.core.windows.net/ckpt',
  );
  expect(parseStoreUrl('http://127.0.0.1:10000/devstoreaccount1/ckpt/p').containerUrl).toBe(
    'http://127.0.0.1:10000/devstoreaccount1/ckpt',
  );
});

test.each([
  ['acct/ckpt', 'not a URL'],
  ['ftp://acct.blob.core.windows.net/ckpt', 'ftp:'],
  ['http://acct.blob.core.windows.net/ckpt', 'plain http'],
  ['http://10.1.2.3/acct/ckpt', 'plain http'],
  ['https://acct.blob.core.windows.net/', 'names no container'],
  ['http://127.0.0.1:10000/devstoreaccount1', 'names no container'],
  ['http://127.0.0.1:10000/', 'names no account'],
  ['https://acct.blob.core.windows.net/Upper', '"Upper"'],
  ['https://acct.blob.core.windows.net/ab', '"ab"'],
  ['https://acct.blob.core.windows.net/a--b', '"a--b"'],
  ['https://acct.blob.core.windows.net/ckpt/a%5Cb', 'backslash'],
  ['https://acct.blob.core.windows.net/ckpt/%ff', '% sequence'],
  ['https://acct.blob.core.windows.net/ckpt#part', '# part'],
  ['https://acct.blob.core.windows.net/ckpt?sv=1&sig=SECRET', 'query string'],
  ['https://user:SECRET@acct.blob.core.windows.net/ckpt', 'user name or password'],
])('%s is refused with what is wrong and what to do, without its secrets', (url, problem) => {
  try {
    parseStoreUrl(url);
    expect.unreachable();
  } catch (error) {
    expect(error).toMatchObject({ code: 'bad-store-url', message: expect.stringContaining(problem) });
    const remedy = error instanceof EvictdError ? error.remedy : '';
    expect(remedy).toBeTruthy();
    expect(`${String(error)} ${remedy}`).not.toContain('SECRET');
  }
});
