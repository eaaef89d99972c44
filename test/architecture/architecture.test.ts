import { readFile, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { describe, expect, test } from 'vitest';

import {
  checkAssertions,
  checkBans,
  checkDisabledRules,
  checkFileNames,
  checkLeftovers,
  checkTests,
} from './habits.ts';
import { checkCycles, checkImportTable, checkRooms, checkStart, MAY_IMPORT } from './import-table.ts';
import { checkNetwork } from './network.ts';
import { readSources } from './source.ts';

const src = await readSources('src/**/*.ts');
const all = [...src, ...(await readSources('test/**/*.ts', 'packaging/**/*.ts'))];

describe('the source', () => {
  test('is found', () => {
    expect(src.length).toBeGreaterThan(20);
    expect(all.length).toBeGreaterThan(src.length);
  });

  test('imports only what the import table allows', () => {
    expect(checkImportTable(src)).toEqual([]);
  });

  test('keeps to what the rooms of src/checkpoint may import', () => {
    expect(checkRooms(src)).toEqual([]);
  });

  test('asks by undici and the Azure SDK, and speaks no protocol of theirs itself', () => {
    expect(checkNetwork(src)).toEqual([]);
  });

  test('has a place in the import table for each folder', async () => {
    const entries = await readdir(fileURLToPath(new URL('../../src', import.meta.url)), {
      withFileTypes: true,
    });
    const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    expect(folders.filter((folder) => !Object.hasOwn(MAY_IMPORT, folder))).toEqual([]);
    expect(entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name)).toEqual(['main.ts']);
  });

  test('has no circles of imports', () => {
    expect(checkCycles(src)).toEqual([]);
  });

  test('loads no package at the start but the one for the command line', () => {
    expect(checkStart(src, 'src/main.ts', ['commander'])).toEqual([]);
  });

  test('takes clock, timers, environment and output from where they belong', () => {
    expect(checkBans(src)).toEqual([]);
  });

  test('explains every type assertion', () => {
    expect(checkAssertions(src)).toEqual([]);
  });

  test('has files named for their concern', () => {
    expect(checkFileNames(all)).toEqual([]);
  });

  test('has no notes to oneself', () => {
    expect(checkLeftovers(all)).toEqual([]);
  });

  test('gives a reason for every lint rule that is switched off', () => {
    expect(checkDisabledRules(all)).toEqual([]);
  });

  test('is what systemd/THREATS.md says is tested', async () => {
    const page = await readFile(new URL('../../systemd/THREATS.md', import.meta.url), 'utf8');
    const named = [...page.matchAll(/`([a-z/-]+\.test\.ts)`/g)].map(([, path]) => `test/${path}`);
    const paths = new Set(all.map(({ path }) => path));
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((path) => !paths.has(path))).toEqual([]);
  });

  test('is tested without mocked modules', () => {
    expect(checkTests(all.filter(({ path }) => path.startsWith('test/')))).toEqual([]);
  });
});
