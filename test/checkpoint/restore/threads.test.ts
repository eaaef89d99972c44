import { readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { restoreSet } from '../../../src/checkpoint/restore/restore-set.ts';
import { createWorkers } from '../../../src/checkpoint/worker/create-workers.ts';
import { startAzurite } from '../../support/azurite.ts';
import { pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { makeCheckpoint, PLACE } from '../../support/make-checkpoint.ts';
import { MIB, never } from './rig.ts';

test('over a real emulator and in real threads: fetched, kept, repaired, and stopped in the middle', async () => {
  await using azurite = await startAzurite();
  await using from = await testFolder();
  await using to = await testFolder();
  const files = Array.from(
    { length: 300 },
    (_, i) => [`d${i % 7}/f${i}`, { kind: 'file', content: `${i}` }] as const,
  );
  await writeTree(from.path, {
    ...Object.fromEntries(files),
    big: { kind: 'file', content: pattern(20 * MIB) },
  });
  const workers = createWorkers(
    { url: azurite.containerUrl(), auth: { kind: 'azurite' } },
    { clock: systemClock },
  );
  await using _closing = { [Symbol.asyncDispose]: () => workers.close() };
  const { store } = workers;
  await store.ensureContainer(never());
  await makeCheckpoint({ connect: () => store }, from.path, { compress: true });
  const restore = (signal = never(), onProgress?: () => void) =>
    restoreSet(
      { place: PLACE, target: to.path },
      { store, workers, clock: systemClock, ...(onProgress !== undefined && { onProgress }) },
      signal,
    );
  const stop = new AbortController();
  const stopped = restore(stop.signal, () => stop.abort(new Error('enough')));
  await expect(stopped).rejects.toThrow('enough');
  const names = await readdir(to.path, { recursive: true });
  expect(names.filter((name) => name.includes('.evictd-restore'))).toEqual([]);
  expect(await restore()).toMatchObject({ files: 301 });
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  await truncate(join(to.path, 'big'), 3 * MIB);
  expect(await restore()).toMatchObject({ files: 301, filesKept: 300, bytesFetched: 17 * MIB });
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});
