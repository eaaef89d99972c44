import * as z from 'zod';
import { describe, expect, test } from 'vitest';

import { writtenForm } from '../../src/config/effective.ts';
import { configVariables } from '../../src/config/environment.ts';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { configReference } from '../../src/config/reference.ts';
import { Config } from '../../src/config/schema.ts';
import { loadText } from './support.ts';

describe('the reference', () => {
  test('is a config file that holds the defaults', async () => {
    const { config, warnings } = await loadText(configReference());
    expect(config).toEqual(Config.parse({}));
    expect(warnings).toEqual([]);
  });

  test('is still valid with the checkpoint section put in', async () => {
    const reference = configReference();
    const start = reference.indexOf('# checkpoint:');
    const section = reference.slice(start, reference.indexOf('\n\n', start));
    // Of the alternatives that it shows, only the first can stand.
    const active = section.replaceAll(/^# ?/gm, '').replaceAll(/^ *clientId: .*$/gm, '');
    const { config } = await loadText(active);
    expect(config.checkpoint).toMatchObject({
      every: 600_000,
      keep: 5,
      sets: [{ name: 'job', path: '/var/lib/job/state' }],
    });
  });

  test('names every variable, and each only once', () => {
    const reference = configReference();
    const names = configVariables(configJsonSchema())
      .map(({ name }) => name)
      // These belong to alternatives, which are shown in one line.
      .filter((name) => !/^EVICTD_CHECKPOINT_(?:STORE_AUTH_FILE|KEEP_)/.test(name));
    expect(names.filter((name) => reference.split(`[${name}]`).length !== 2)).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('the JSON Schema', () => {
  test('describes every key and says what is allowed', () => {
    const undescribed: string[] = [];
    const visit = (node: ReturnType<typeof configJsonSchema>, path: string) => {
      for (const variant of node.anyOf ?? node.oneOf ?? [node]) {
        for (const [key, child] of Object.entries(variant.properties ?? {})) {
          // What chooses an alternative is described where the alternatives are.
          if (child.description === undefined && child.const === undefined)
            undescribed.push(`${path}.${key}`);
          visit(child, `${path}.${key}`);
        }
        if (variant.items !== undefined) visit(variant.items, `${path}[]`);
      }
    };
    visit(configJsonSchema(), '');
    expect(undescribed).toEqual([]);
  });

  test('accepts what the contract writes', () => {
    const schema = configJsonSchema();
    expect(schema.properties?.['imds']?.properties?.['pollInterval']).toMatchObject({
      type: 'string',
      default: '1s',
    });
    expect(schema.additionalProperties).toBe(false);
  });
});

describe('the written form', () => {
  test('means the same when it is read again', async () => {
    const { config } = await loadText(`
window: { notice: 90s, urgent: 1500ms, reserve: 1s }
events: { Quarantine: { checkpoint: true } }
checkpoint: { store: { url: "https://acc.blob.core.windows.net/ckpt" }, background: { maxRate: 1500KiB } }
health: { listen: "[::]:8080" }
`);
    const written = writtenForm(config);
    expect(Config.parse(written)).toEqual(config);
    expect(z.object({ window: z.unknown() }).parse(written).window).toEqual({
      notice: '90s',
      urgent: '1500ms',
      reserve: '1s',
    });
  });
});
