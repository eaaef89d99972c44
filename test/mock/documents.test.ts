import { expect, test } from 'vitest';

import { startTestImds } from '../support/mock-imds.ts';
import { ask, askEvents } from './support.ts';

const TOKEN =
  '/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F';

test('serves the instance as a whole, in part, and leaf by leaf', async () => {
  await using mock = await startTestImds({ vm: { name: 'fleet_2', tags: { job: 'a', team: 'b' } } });
  const whole = await ask(mock.url, '/metadata/instance?api-version=2021-02-01');
  expect(JSON.parse(whole.text)).toMatchObject({ compute: { name: 'fleet_2' }, network: {} });
  const part = await ask(mock.url, '/metadata/instance/compute?api-version=2021-02-01');
  expect(JSON.parse(part.text)).toMatchObject({
    name: 'fleet_2',
    tags: 'job:a;team:b',
    tagsList: [
      { name: 'job', value: 'a' },
      { name: 'team', value: 'b' },
    ],
    priority: 'Spot',
    evictionPolicy: 'Delete',
  });
  const leaf = await ask(mock.url, '/metadata/instance/compute/name?api-version=2021-02-01&format=text');
  expect(leaf).toMatchObject({ status: 200, text: 'fleet_2' });
  const old = await ask(mock.url, '/metadata/instance/compute?api-version=2017-12-01');
  expect(JSON.parse(old.text)).not.toHaveProperty('tagsList');
});

test('gives out an unsigned token whose numbers are texts', async () => {
  await using mock = await startTestImds({ token: { ttl: '10m', tenantId: 'aaaa' } });
  const { text } = await ask(mock.url, TOKEN);
  // The shape is what this test is about.
  const token = JSON.parse(text) as Record<string, string>;
  expect(token).toMatchObject({ expires_in: '600', token_type: 'Bearer', refresh_token: '' });
  expect(Number(token['expires_on']) * 1000 - Date.now()).toBeGreaterThan(595_000);
  const [header = '', claims = '', signature] = String(token['access_token']).split('.');
  expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toEqual({ typ: 'JWT', alg: 'none' });
  expect(JSON.parse(Buffer.from(claims, 'base64url').toString())).toMatchObject({
    aud: 'https://storage.azure.com',
    iss: 'https://sts.windows.net/aaaa/',
    exp: Number(token['expires_on']),
  });
  expect(signature).toBe('');
});

test('wants the identity named when there are several, and a known one', async () => {
  await using mock = await startTestImds({ token: { clientIds: ['one', 'two'] } });
  expect((await ask(mock.url, TOKEN)).status).toBe(400);
  expect((await ask(mock.url, `${TOKEN}&client_id=three`)).status).toBe(400);
  expect((await ask(mock.url, `${TOKEN}&client_id=two`)).status).toBe(200);
});

test('moves its Date header, NotBefore and tokens with its clock, and the header alone with a skew', async () => {
  await using mock = await startTestImds();
  mock.addEvent({ notBefore: '30s' });
  mock.shiftClock('-1h');
  const { Events, headers } = await askEvents(mock.url);
  const date = Date.parse(String(headers['date']));
  const notBefore = Date.parse(String(Events[0]?.['NotBefore']));
  expect(Date.now() - date).toBeGreaterThan(3_590_000);
  expect(notBefore - date).toBeLessThanOrEqual(31_000);
  mock.fault({ kind: 'skewed-date', by: '2h' });
  const skewed = await askEvents(mock.url);
  expect(Date.parse(String(skewed.headers['date'])) - Date.now()).toBeGreaterThan(3_500_000);
  expect(skewed.Events).toEqual(Events);
});
