import { appendFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { blockIdOf } from '../../src/checkpoint/block-id.ts';
import { statOf } from '../../src/checkpoint/file-stat.ts';
import { sendFile, type SendContext } from '../../src/checkpoint/send-file.ts';
import { createTransfer, TRANSFER_LIMITS } from '../../src/checkpoint/transfer.ts';
import { createWorkplace } from '../../src/checkpoint/workplace.ts';
import { laterClock, never, PLACE, reader } from '../support/checkpoints.ts';
import { pattern, testFolder } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const MODE = { stop: () => false, readsMax: 3, changing: 'fail' } as const;

test('a file that is written anew and then grows has its content with the time of that', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/state`;
  const content = pattern(3 * MIB, 2);
  writeFileSync(file, pattern(3 * MIB, 1));
  utimesSync(file, 1_500_000_000, 1_500_000_000);
  const found = statOf(statSync(file, { bigint: true }));
  let reads = 0;
  await using work = await begun(folder.path, {
    onFileRead() {
      if (++reads === 2) appendFileSync(file, 'and more');
    },
    reader: {
      ...reader,
      async run(job, signal) {
        if (job.kind === 'block' && reads === 1) writeFileSync(file, content);
        return reader.run(job, signal);
      },
    },
  });
  const scanned = { path: 'state', stat: found, mode: 0o644, uid: 0, gid: 0 };
  expect(await sendFile(work.send, scanned, MODE, never())).toMatchObject({
    stat: { size: content.length + 8, mtimeNs: statSync(file, { bigint: true }).mtimeNs },
    blocks: [blockIdOf(Buffer.concat([content, Buffer.from('and more')]), work.send.index.hashKey)],
  });
});

/** Work on a set in `path`, disturbed by `more`. */
async function begun(path: string, more: Partial<SendContext>) {
  const store = createMemoryService().connect();
  const place = createWorkplace(
    {
      prefix: PLACE.prefix,
      key: PLACE.key,
      set: { name: PLACE.set, path, include: ['**'], exclude: [], priority: 50 },
      writer: { vmName: 'vm-1', vmId: 'id', bootId: 'boot', process: 'p' },
      indexDirectory: undefined,
    },
    {
      store,
      transfer: createTransfer(TRANSFER_LIMITS, { clock: systemClock }),
      reader,
      clock: laterClock,
      onNote(_, error) {
        throw error;
      },
    },
  );
  const work = await place.begin({ thorough: false, sends: true }, never());
  return { send: { ...work.send, ...more }, [Symbol.asyncDispose]: () => work[Symbol.asyncDispose]() };
}
