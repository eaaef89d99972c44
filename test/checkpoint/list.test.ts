import { expect, test } from 'vitest';

import { createCheckpointer } from '../../src/checkpoint/checkpointer.ts';
import { listCheckpoints } from '../../src/checkpoint/list.ts';
import { laterClock, never } from '../support/checkpoints.ts';
import { testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

test('checkpoints are listed by set, the newest first, with what was sent and by whom', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, { a: { kind: 'file', content: 'four' } });
  const service = createMemoryService();
  const store = service.connect();
  const set = { path: folder.path, include: ['**'], exclude: [], priority: 50 };
  const checkpointer = createCheckpointer(
    {
      prefix: '',
      key: 'vm',
      sets: [
        { ...set, name: 'one' },
        { ...set, name: 'two' },
      ],
      writer: { vmName: 'fleet_1', vmId: 'id', bootId: 'boot' },
    },
    { store, clock: laterClock },
  );
  await checkpointer.commit({ set: 'two', reason: 'schedule' }, never());
  await checkpointer.commit({ set: 'one', reason: 'notice' }, never());
  await checkpointer.commit({ set: 'one', reason: 'command' }, never());
  service.corrupt('vm/two/checkpoints/00000001.json', () => Buffer.from('{}'));
  const of = { prefix: '', key: 'vm' };
  const all = await listCheckpoints(of, { store }, never());
  expect(all).toMatchObject([
    {
      kind: 'usable',
      set: 'one',
      id: '00000002',
      reason: 'command',
      files: 1,
      bytes: 4,
      bytesSent: 0,
      vmName: 'fleet_1',
    },
    { kind: 'usable', set: 'one', id: '00000001', reason: 'notice', bytesSent: 4 },
    {
      kind: 'unusable',
      set: 'two',
      id: '00000001',
      detail: expect.stringContaining('vm/two/checkpoints/00000001.json'),
    },
  ]);
  expect(await listCheckpoints({ ...of, set: 'one' }, { store }, never())).toEqual(all.slice(0, 2));
  expect(await listCheckpoints({ ...of, key: 'other' }, { store }, never())).toEqual([]);
});
