import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { systemClock, type Clock } from '../../src/base/clock.ts';
import { committed, never, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

const TMPFS = 0x01021994;

const hasPython = spawnSync('python3', ['--version']).status === 0;

/** Writes `first` through a shared mapping; each line on its input writes the next text to the same place. */
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

/** The page is dirty for 30 s and more, and all that time the file seems untouched: so it is soon after the write. */
const soonAfter: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + 20_000 };

test.skipIf(!hasPython)(
  'what was written through a mapping after the file was staged is in the checkpoint, though no time shows it',
  async () => {
    await using from = await testFolder();
    await using to = await testFolder();
    const writer = await mappedWriter(`${from.path}/db`);
    await writer.write('epoch-01');
    const service = createMemoryService();
    const checkpointer = testCheckpointer(service.connect(), from.path, { clock: soonAfter });
    await checkpointer.stage('job', never());
    await writer.write('epoch-02');
    await writer.end();
    await committed(checkpointer);
    await restoreJob(service.connect(), to.path);
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
      const checkpointer = testCheckpointer(createMemoryService().connect(), path);
      await committed(checkpointer);
      expect(await committed(checkpointer)).toMatchObject({ bytesSent: 0 });
      expect(checkpointer.activity().get('job')).toMatchObject({ filesRead: 2 });
    } finally {
      rmSync(path, { recursive: true });
    }
  },
);
