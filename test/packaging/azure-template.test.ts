import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import * as z from 'zod';

import { deployedResources, resourceId } from '../support/arm-template.ts';
import { runEvictd } from '../support/evictd-process.ts';

const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');

const Schema = z.object({
  resources: z.record(z.string(), z.object({ $ref: z.string() })),
  definitions: z.record(z.string(), z.unknown()),
});
// Members that a template may have; a typing mistake would be ignored by nobody but the reader.
const Template = z.strictObject({
  $schema: z.literal('https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#'),
  contentVersion: z.string(),
  metadata: z.object({ description: z.string() }),
  parameters: z.record(
    z.string(),
    z.strictObject({
      type: z.enum(['string', 'int', 'bool', 'object']),
      defaultValue: z.unknown().optional(),
      allowedValues: z.array(z.string()).optional(),
      minLength: z.int().optional(),
      maxLength: z.int().optional(),
      minValue: z.int().optional(),
      maxValue: z.int().optional(),
      metadata: z.object({ description: z.string() }).optional(),
    }),
  ),
  variables: z.record(z.string(), z.string()),
  resources: z.array(z.record(z.string(), z.unknown())),
  outputs: z.record(z.string(), z.strictObject({ type: z.literal('string'), value: z.string() })),
});

const schema = Schema.parse(JSON.parse(read('test/fixtures/arm/resources.schema.json')));
const template = Template.parse(JSON.parse(read('packaging/azure/spot-fleet.json')));
const given = z
  .object({ parameters: z.record(z.string(), z.object({ value: z.unknown() })) })
  .parse(JSON.parse(read('packaging/azure/spot-fleet.parameters.json')));
const CLIENT_ID = '11111111-2222-3333-4444-555555555555';
const BLOBS = 'https://fleetaccount.blob.core.windows.net/';

/** As `az deployment group create` deploys it, with the parameters file and these on top. */
function deploy(parameters: Readonly<Record<string, unknown>> = {}) {
  const all = {
    ...Object.fromEntries(Object.entries(given.parameters).map(([name, { value }]) => [name, value])),
    sshPublicKey: 'ssh-ed25519 AAAA',
    cloudInit: read('packaging/cloud-init/golden-image.yaml'),
    ...parameters,
  };
  const account = { primaryEndpoints: { blob: BLOBS } };
  const identity = { clientId: CLIENT_ID, principalId: '99999999-2222-3333-4444-555555555555' };
  const reference = (id: string) => (id.includes('/storageAccounts/') ? account : identity);
  return deployedResources(template, { parameters: all, reference });
}

function problemsOf(resource: Readonly<Record<string, unknown>>): readonly string[] {
  const root = schema.resources[String(resource['type'])];
  if (root === undefined) return [`there is no schema for ${String(resource['type'])}`];
  const validate = new Ajv({ allErrors: true, strict: false }).compile({
    ...root,
    definitions: schema.definitions,
  });
  validate(resource);
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  );
}

function find(type: string, resources = deploy()): Record<string, unknown> {
  const found = resources.find((resource) => resource['type'] === type);
  if (found === undefined) throw new Error(`there is no ${type}`);
  return found;
}

describe('the template of a fleet', () => {
  test.each(['Delete', 'Deallocate'])(
    'with %s has only what Azure knows, of the right type',
    (evictionPolicy) => {
      expect(deploy({ evictionPolicy }).flatMap(problemsOf)).toEqual([]);
    },
  );

  test.each([
    ['a member that is misspelt', { virtualMachineProfil: {} }],
    ['a value that does not exist', { virtualMachineProfile: { priority: 'Cheap' } }],
    ['a number that is text', { virtualMachineProfile: { billingProfile: { maxPrice: '-1' } } }],
  ])('would be refused for %s', (_what, properties) => {
    const fleet = find('Microsoft.Compute/virtualMachineScaleSets');
    expect(problemsOf({ ...fleet, properties })).toHaveLength(1);
  });

  test('takes the parameters of the parameters file', () => {
    expect(Object.keys(given.parameters).filter((name) => !(name in template.parameters))).toEqual([]);
  });

  test('depends on resources that it has', () => {
    const resources = deploy();
    const ids = new Set(
      resources.map(({ type, name, scope }) => {
        const id = resourceId(String(type), ...String(name).split('/'));
        return typeof scope === 'string' ? scope + id.slice(id.indexOf('/providers/')) : id;
      }),
    );
    for (const { dependsOn = [] } of resources) {
      for (const id of z.array(z.string()).parse(dependsOn)) expect(ids).toContain(id);
    }
  });

  test('is of Spot VMs without a public address, at any price unless told', () => {
    const fleet = JSON.stringify(find('Microsoft.Compute/virtualMachineScaleSets'));
    expect(fleet).toContain('"priority":"Spot","evictionPolicy":"Delete","billingProfile":{"maxPrice":-1}');
    expect(fleet).not.toMatch(/publicIPAddress|spotRestorePolicy/);
    const restored = deploy({ evictionPolicy: 'Deallocate', maxPrice: '0.0525' });
    expect(JSON.stringify(restored)).toContain(
      '"spotRestorePolicy":{"enabled":true,"restoreTimeout":"PT1H"}',
    );
    expect(JSON.stringify(restored)).toContain('"maxPrice":0.0525');
  });

  test('has so many VMs, with the identity, and tags on all that can have them', () => {
    const tags = { team: 'research' };
    const fleet = deploy({ instances: 7, tags }).find(({ type }) => String(type).endsWith('ScaleSets'));
    expect(fleet).toMatchObject({
      tags,
      sku: { name: 'Standard_D4as_v5', capacity: 7 },
      identity: {
        type: 'UserAssigned',
        userAssignedIdentities: {
          [resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', 'fleet-identity')]: {},
        },
      },
    });
    const untagged = deploy({ tags }).filter((resource) => !('tags' in resource));
    // Parts of others, to which Azure gives no tags.
    expect(untagged.map(({ type }) => type)).toEqual([
      'Microsoft.Storage/storageAccounts/blobServices',
      'Microsoft.Storage/storageAccounts/blobServices/containers',
      'Microsoft.Authorization/roleAssignments',
    ]);
  });

  test('keeps checkpoints in a container that is reached with tokens, from the subnet of the VMs only', () => {
    expect(find('Microsoft.Storage/storageAccounts')['properties']).toMatchObject({
      allowBlobPublicAccess: false,
      allowSharedKeyAccess: false,
      minimumTlsVersion: 'TLS1_2',
      networkAcls: { defaultAction: 'Deny', virtualNetworkRules: [{ action: 'Allow' }] },
    });
    const container = find('Microsoft.Storage/storageAccounts/blobServices/containers');
    expect(container['properties']).toEqual({ publicAccess: 'None' });
  });

  test('gives the identity one role, on the container and nothing else', () => {
    const role = find('Microsoft.Authorization/roleAssignments');
    expect(role['scope']).toMatch(/\/blobServices\/default\/containers\/checkpoints$/);
    expect(JSON.stringify(role)).toContain('ba92f5b4-2d11-453d-a403-e96b0029c9fe');
  });

  test.each(['golden-image', 'install'])(
    'fills in the user-data of %s to a configuration that evictd takes',
    async (name) => {
      const { osProfile } = z
        .object({ osProfile: z.object({ customData: z.base64() }) })
        .parse(
          z
            .object({ virtualMachineProfile: z.unknown() })
            .parse(
              find(
                'Microsoft.Compute/virtualMachineScaleSets',
                deploy({ cloudInit: read(`packaging/cloud-init/${name}.yaml`) }),
              )['properties'],
            ).virtualMachineProfile,
        );
      const userData = Buffer.from(osProfile.customData, 'base64').toString();
      expect(userData).toMatch(/^#cloud-config\n/);
      const { write_files: files } = z
        .object({ write_files: z.array(z.object({ path: z.string(), content: z.string() })) })
        .parse(parse(userData));
      const config = files.find(({ path }) => path.startsWith('/etc/evictd/conf.d/'))?.content ?? '';
      expect(parse(config)).toMatchObject({
        checkpoint: {
          store: { url: `${BLOBS}checkpoints`, auth: { kind: 'managed-identity', clientId: CLIENT_ID } },
        },
      });
      const folder = await mkdtemp(join(tmpdir(), 'evictd-user-data-'));
      try {
        await writeFile(join(folder, 'config.yaml'), config, { mode: 0o600 });
        const check = await runEvictd(['config', 'check', '--config', join(folder, 'config.yaml')]);
        expect(check.output).toMatch(/^(?:OK|valid, with \d+ warnings): /m);
        expect(check.code).toBe(0);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  );
});
