import { expect, test } from 'vitest';

import { cleanUpDrill } from '../../../src/checkpoint/retention/drill.ts';
import {
  findReportKeys,
  listReports,
  readReport,
  writeReport,
} from '../../../src/checkpoint/retention/reports.ts';
import { createMemoryBlobs, storeError } from '../../support/memory-blobs.ts';
import { PREFIX, fiveCheckpoints } from './prune-rig.ts';

const signal = new AbortController().signal;
const PLACE = { prefix: 'p', key: 'fleet/vm-1' };
const files = (text: string) => [
  { extension: 'json' as const, contentType: 'application/json', body: Buffer.from(text) },
  { extension: 'html' as const, contentType: 'text/html', body: Buffer.from(`<p>${text}`) },
];

test('the newest report of an event stands', async () => {
  const blobs = createMemoryBlobs();
  const store = blobs.connect();
  await writeReport(store, PLACE, 'ID-1', files('first'), signal);
  await writeReport(store, PLACE, 'ID-1', files('second'), signal);
  await writeReport(store, PLACE, '../../x', files('third'), signal);
  expect(blobs.names()).toEqual([
    'p/fleet/vm-1/reports/ID-1.html',
    'p/fleet/vm-1/reports/ID-1.json',
    'p/fleet/vm-1/reports/______x.html',
    'p/fleet/vm-1/reports/______x.json',
  ]);
  expect(await readReport(store, PLACE, 'ID-1', signal)).toBe('second');
  expect(await listReports(store, PLACE, signal)).toMatchObject([
    { key: 'fleet/vm-1', eventId: 'ID-1' },
    { key: 'fleet/vm-1', eventId: '______x' },
  ]);
});

test('where nothing can be overwritten, the next one has a name of its own', async () => {
  const blobs = createMemoryBlobs();
  const store = blobs.connect({
    before({ operation, name }) {
      if (operation === 'replace') throw storeError('immutable', name);
    },
  });
  for (const text of ['first', 'second', 'second', 'third']) {
    await writeReport(store, PLACE, 'ID', files(text), signal);
  }
  const texts = await Promise.all(['ID', 'ID-2', 'ID-3'].map((id) => readReport(store, PLACE, id, signal)));
  expect(texts).toEqual(['first', 'second', 'third']);
  expect(blobs.names()).toHaveLength(6);
});

test('keys that have reports are found by folders, without a look into sets', async () => {
  const blobs = createMemoryBlobs({ pageMax: 2 });
  const store = blobs.connect();
  for (const key of ['vm-9', 'fleet/vm-1', 'fleet/vm-1/deeper', 'fleet/vm-2', 'fleet/vm-3']) {
    await writeReport(store, { prefix: 'p', key }, 'ID', files('x'), signal);
  }
  const others = [
    'p/fleet/vm-1/sets/job/packs/reports/x',
    'p/fleet/vm-4/sets/job/format.json',
    'p/fleet/vm-5/drill/reports/ID.json',
    'q/vm-1/reports/ID.json',
    'p/reports/ID.json',
  ];
  for (const name of others) await store.create(name, Buffer.from(''), { contentType: '' }, signal);
  const client = blobs.connect();
  expect(await findReportKeys(client, 'p', signal)).toEqual([
    'fleet/vm-1',
    'fleet/vm-1/deeper',
    'fleet/vm-2',
    'fleet/vm-3',
    'vm-9',
  ]);
  expect(client.calls.filter(({ name }) => /\/(sets|drill|reports)\//.test(name))).toEqual([]);
});

test('a listing of folders that never ends is an error', async () => {
  const store = { folders: async () => ({ names: [], next: 'again' }) };
  await expect(findReportKeys(store, 'p', signal)).rejects.toMatchObject({ code: 'bad-answer' });
});

test('what drills have left goes, and nothing else', async () => {
  const { rig } = await fiveCheckpoints();
  const before = rig.blobs.names();
  for (const name of ['p/vm-1/drill/checkpoints/job/00000007.json', 'p/vm-1/drill/reports/ID.json']) {
    await rig.store.create(name, Buffer.from('{}'), { contentType: '' }, signal);
  }
  const place = { prefix: 'p', key: 'vm-1' };
  const stuck = rig.blobs.connect({
    before({ operation, name }) {
      if (operation === 'remove' && name.includes('/reports/')) throw storeError('leased', name);
    },
  });
  expect(await cleanUpDrill(place, { store: stuck }, signal)).toBe(1);
  expect(await cleanUpDrill(place, { store: rig.store }, signal)).toBe(1);
  expect(rig.blobs.names()).toEqual(before);
  expect(before.every((name) => name.startsWith(PREFIX))).toBe(true);
});
