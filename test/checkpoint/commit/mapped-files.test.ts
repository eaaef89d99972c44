import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { committed, never, restoreJob, shiftedClock, testCheckpointer } from '../../support/checkpoints.ts';
import { testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';

const TMPFS = 0x01021994;

const hasPython = spawnSync('python3', ['--version']).status === 0;

/** Each line on its input is written through a shared mapping, to the same place. */
async function mappedWriter(file: string) {
  const program = `
import mmap, sys
f = open(sys.argv[1], 'w+b')
f.truncate(1 << 16)
m = mmap.mmap(f.fileno(), 1 << 16)
for line in sys.stdin:
    m[0:8] = line.strip().encode()
    print('written', flush=True)
`;
  const child = spawn('python3', ['-u', '-c', program, file], { stdio: ['pipe', 'pipe', 'inherit'] });
  return {
    async write(text: string) {
      child.stdin.write(`${text}\n`);
      await once(child.stdout, 'data');
    },
    async end() {
      child.stdin.end();
      await once(child, 'exit');
    },
  };
}

test.skipIf(!hasPython)(
  'what was written through a mapping after the file was staged is in the checkpoint, though no time shows it',
  async () => {
    await using from = await testFolder();
    await using to = await testFolder();
    const writer = await mappedWriter(`${from.path}/db`);
    await writer.write('epoch-01');
    const blobs = createMemoryBlobs();
    // The page is dirty for 30 s and more, and all that time the file seems untouched: so it is soon after the write.
    const checkpointer = testCheckpointer(blobs.connect(), from.path, { clock: shiftedClock(20_000) });
    await checkpointer.stage('job', never());
    await writer.write('epoch-02');
    await writer.end();
    await committed(checkpointer);
    await restoreJob(blobs.connect(), to.path);
    expect((await readFile(`${to.path}/db`)).toString('latin1', 0, 8)).toBe('epoch-02');
  },
);

test.skipIf(!hasPython)(
  'the same in the background: what was read too soon after a stamp is compared once that is a minute ago',
  async () => {
    await using from = await testFolder();
    await using to = await testFolder();
    const writer = await mappedWriter(`${from.path}/db`);
    await writer.write('epoch-01');
    const blobs = createMemoryBlobs();
    const clock = shiftedClock(20_000);
    const checkpointer = testCheckpointer(blobs.connect(), from.path, { clock });
    await committed(checkpointer);
    await writer.write('epoch-02');
    await writer.end();
    const idle = { idleMs: 5000, pace: { take: async () => undefined } };
    const filesRead = () => checkpointer.activity().get('job')?.filesRead ?? 0;
    // Where the kernel has written the page back in between, there is a stamp after all, and it is read now.
    await checkpointer.stageIdle('job', idle, never());
    const before = filesRead();
    clock.advance(61_000);
    await checkpointer.stageIdle('job', idle, never());
    expect(filesRead()).toBe(before + 1);
    await checkpointer.commit({ set: 'job', reason: 'notice' }, never());
    await restoreJob(blobs.connect(), to.path);
    expect((await readFile(`${to.path}/db`)).toString('latin1', 0, 8)).toBe('epoch-02');
  },
);

function isTmpfs(path: string): boolean {
  try {
    return statfsSync(path).type === TMPFS;
  } catch {
    return false;
  }
}

test.skipIf(!isTmpfs('/dev/shm'))(
  'files on tmpfs, which never stamps what is written through a mapping, are read each time and sent once',
  async () => {
    const path = mkdtempSync('/dev/shm/evictd-test-');
    try {
      await writeTree(path, { a: { kind: 'file', content: 'content' } });
      const clock = shiftedClock();
      const checkpointer = testCheckpointer(createMemoryBlobs().connect(), path, { clock });
      for (let round = 1; round <= 3; round++) {
        const { id, bytesSent } = await committed(checkpointer);
        expect(id).toBe('00000002');
        if (round > 1) expect(bytesSent).toBe(0);
        expect(checkpointer.activity().get('job')).toMatchObject({ filesRead: round });
        clock.advance(120_000);
      }
    } finally {
      rmSync(path, { recursive: true });
    }
  },
);
