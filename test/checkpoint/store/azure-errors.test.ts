import { inspect } from 'node:util';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { createAzureStore } from '../../../src/checkpoint/store/azure/azure-store.ts';
import { type Azurite, startAzurite } from '../../support/azurite.ts';
import { type BlobProxy, createBlobProxy } from '../../support/blob-proxy.ts';
import { TYPE, signal } from './store-subject.ts';

/** What a call does when the service refuses it, each as Azure does; Azurite has few of these. */

let azurite: Azurite;
let proxy: BlobProxy;
beforeAll(async () => {
  azurite = await startAzurite();
  proxy = await createBlobProxy(azurite.containerUrl());
  const store = await open();
  await store.ensureContainer(signal);
  await store.close();
});
afterAll(async () => {
  await proxy.close();
  await azurite.stop();
});

const open = () =>
  createAzureStore(
    {
      url: proxy.url,
      auth: { kind: 'azurite' },
      limits: { firstDelayMs: 1, delayMsMax: 2, throttledTriesMax: 5 },
    },
    { clock: systemClock },
  );

function refuse(status: number, code: string, times = Infinity): void {
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>SERVICE TEXT https://x?sig=SECRET</Message></Error>`;
  const headers = { 'x-ms-error-code': code, 'x-ms-request-id': 'r-1', 'content-type': 'application/xml' };
  proxy.reset();
  proxy.fail({ fault: { kind: 'status', status, headers, body }, times });
}

type Operation = 'read' | 'create' | 'replace' | 'remove' | 'list';

async function run(operation: Operation): Promise<unknown> {
  const store = await open();
  const calls = {
    read: () => store.read('x', { bytesMax: 10 }, signal),
    create: () => store.create('x', Buffer.from('x'), TYPE, signal),
    replace: () => store.replace('x', Buffer.from('x'), TYPE, signal),
    remove: () => store.remove('x', signal),
    list: () => store.list('', {}, signal),
  };
  try {
    return await calls[operation]();
  } finally {
    await store.close();
  }
}

test.each([
  [409, 'BlobAlreadyExists'],
  [412, 'ConditionNotMet'],
  [403, 'UnauthorizedBlobOverwrite'],
  [409, 'BlobImmutableDueToPolicy'],
  [412, 'LeaseIdMissing'],
  [409, 'BlobArchived'],
])('a create that is answered by %i %s finds its name taken', async (status, code) => {
  refuse(status, code);
  expect(await run('create')).toEqual({ outcome: 'taken' });
  expect(proxy.requests).toHaveLength(1);
});

test.each<[Operation, number, string, string, string]>([
  ['remove', 409, 'BlobImmutableDueToPolicy', 'immutable', 'legal hold'],
  ['remove', 409, 'SnapshotsPresent', 'immutable', 'snapshots'],
  ['remove', 412, 'LeaseIdMissing', 'leased', 'lease break'],
  ['replace', 409, 'BlobImmutableDueToPolicy', 'immutable', 'legal hold'],
  ['replace', 403, 'UnauthorizedBlobOverwrite', 'immutable', 'right to write'],
  ['replace', 412, 'LeaseIdMissing', 'leased', 'lease break'],
  ['read', 409, 'BlobArchived', 'archived', 'set-tier'],
  ['read', 409, 'BlobBeingRehydrated', 'archived', 'hours'],
  ['read', 404, 'ContainerNotFound', 'container-not-found', 'az storage container create'],
  ['create', 404, 'ContainerNotFound', 'container-not-found', 'az storage container create'],
  ['create', 409, 'ContainerBeingDeleted', 'container-not-found', 'az storage container create'],
  ['create', 403, 'AuthorizationFailure', 'forbidden', 'network-rule add'],
  ['create', 403, 'AuthorizationPermissionMismatch', 'forbidden', 'Storage Blob Data Contributor'],
  ['create', 403, 'AuthorizationPermissionMismatch', 'forbidden', 'az storage container create'],
  ['create', 403, 'InsufficientAccountPermissions', 'forbidden', 'Storage Blob Data Contributor'],
  ['create', 403, 'KeyBasedAuthenticationNotPermitted', 'forbidden', 'kind: managed-identity'],
  ['create', 403, 'AccountIsDisabled', 'forbidden', 'subscription'],
  ['create', 403, 'AuthorizationSourceIPMismatch', 'forbidden', 'addresses'],
  ['create', 403, 'SomethingNew', 'forbidden', 'firewall'],
  ['create', 403, 'AuthenticationFailed', 'unauthenticated', 'clock'],
  ['create', 401, 'InvalidAuthenticationInfo', 'unauthenticated', 'clock'],
  ['create', 401, 'NoAuthenticationInformation', 'unauthenticated', 'credential'],
  ['list', 409, 'FeatureNotYetSupportedForHierarchicalNamespaceAccounts', 'refused', 'hierarchical'],
])('%s: %i %s is %s, and the remedy speaks of %s', async (operation, status, azureCode, code, words) => {
  refuse(status, azureCode);
  const failure = run(operation);
  await expect(failure).rejects.toMatchObject({
    code,
    message: expect.stringMatching(
      operation === 'replace' && azureCode === 'UnauthorizedBlobOverwrite'
        ? /overwritten/
        : new RegExp(`: HTTP ${status} ${azureCode} \\(request r-1\\)$`),
    ),
    remedy: expect.stringContaining(words),
  });
  const shown = inspect(await failure.catch((error: unknown) => error), { depth: 10, showHidden: true });
  expect(shown).not.toMatch(/SERVICE TEXT|SECRET/);
  expect(proxy.requests).toHaveLength(1);
});

test.each<[Operation, number, string]>([
  ['create', 409, 'BlobHasBeenModified'],
  ['read', 409, 'BlobModifiedWhileReading'],
  ['create', 400, 'InvalidBlobOrBlock'],
  ['create', 400, 'Md5Mismatch'],
  ['list', 500, 'OperationTimedOut'],
  ['list', 500, 'InternalError'],
  ['create', 503, 'ServerBusy'],
])('%s: %i %s is tried again', async (operation, status, code) => {
  proxy.reset();
  const store = await open();
  await store.remove('x', signal);
  if (operation === 'read') await store.create('x', Buffer.from('x'), TYPE, signal);
  await store.close();
  refuse(status, code, 2);
  await expect(run(operation)).resolves.toBeDefined();
  expect(proxy.requests.map((request) => request.status).slice(0, 2)).toEqual([status, status]);
  expect(proxy.requests).toHaveLength(3);
});

test.each<[Operation, object]>([
  ['remove', { outcome: 'absent' }],
  ['read', { code: 'not-found' }],
])('%s: a 404 counts only if the service says it', async (operation, answer) => {
  refuse(404, 'BlobNotFound');
  expect(await run(operation).catch((error: unknown) => error)).toMatchObject(answer);
  proxy.reset();
  proxy.fail({ fault: { kind: 'status', status: 404, body: '<html>no such page</html>' }, times: Infinity });
  await expect(run(operation)).rejects.toMatchObject({ code: 'bad-answer' });
});
