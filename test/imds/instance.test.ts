import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createInstanceClient, type InstanceClient } from '../../src/imds/instance.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { deadline, startRawServer } from './support.ts';

function startInstanceClient(endpoint: string): InstanceClient & AsyncDisposable {
  const client = createInstanceClient({ endpoint, timeoutMs: 2000 }, { clock: systemClock, random: () => 0 });
  return { ...client, [Symbol.asyncDispose]: () => client.close() };
}

test('reads name, scale set and tags of the VM', async () => {
  await using mock = await startTestImds({ vm: { name: 'fleet_2', tags: { job: 'a:b;c', team: '' } } });
  await using client = startInstanceClient(mock.url);
  expect(await client.get(deadline())).toEqual({
    name: 'fleet_2',
    vmId: '7f9d7a2e-3c5e-4b62-9a10-0d5c1f8e6b01',
    scaleSet: 'fleet',
    location: 'westeurope',
    zone: '1',
    tags: { job: 'a:b;c', team: '' },
    priority: 'Spot',
    evictionPolicy: 'Delete',
  });
});

test('asks a host that lags behind with an older version', async () => {
  await using mock = await startTestImds({ vm: { tags: { job: 'a' } } });
  mock.fault({ kind: 'status', status: 400, on: 'instance', count: 1 });
  await using client = startInstanceClient(mock.url);
  expect(await client.get(deadline())).toMatchObject({ name: 'fleet_0', tags: { job: 'a' }, priority: '' });
  expect(mock.requests().map(({ apiVersion }) => apiVersion)).toEqual(['2021-02-01', '2019-06-04']);
});

test('takes the tags from their text form where there is no list', async () => {
  await using server = await startRawServer((_request, response) =>
    response.end(JSON.stringify({ name: 'vm', tags: 'job:a;url:http://x;alone' })),
  );
  await using client = startInstanceClient(server.url);
  expect(await client.get(deadline())).toMatchObject({
    scaleSet: '',
    tags: { job: 'a', url: 'http://x', alone: '' },
  });
});

test.each([
  ['without a name', JSON.stringify({ name: '', vmId: 'x' }), 'imds-bad-document'],
  ['that is HTML', '<html>', 'imds-not-json'],
  ['that is empty', '', 'imds-empty'],
])('a document %s is an error', async (_name, body, code) => {
  await using server = await startRawServer((_request, response) => response.end(body));
  await using client = startInstanceClient(server.url);
  await expect(client.get(deadline())).rejects.toMatchObject({ code });
});

test('keeps asking through the 404s of the time just after boot', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'status', status: 404, on: 'instance', count: 2 });
  await using client = startInstanceClient(mock.url);
  const failures: string[] = [];
  const instance = await client.getUntilFound(deadline(), (error) => failures.push(error.code));
  expect(instance.name).toBe('fleet_0');
  expect(failures).toEqual(['imds-not-found', 'imds-not-found']);
});

test('stops asking when its signal ends it', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'status', status: 404, on: 'instance' });
  await using client = startInstanceClient(mock.url);
  const controller = new AbortController();
  const found = client.getUntilFound(controller.signal, () => controller.abort(new Error('enough')));
  await expect(found).rejects.toThrow('enough');
  expect(mock.requests()).toHaveLength(1);
});
