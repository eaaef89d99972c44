import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { type Azurite, startAzurite } from '../support/azurite.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { runBundle } from './support.ts';

let azurite: Azurite;
let folder: string;
let url: string;

beforeAll(async () => {
  azurite = await startAzurite();
  url = `${azurite.containerUrl()}/p`;
  folder = await mkdtemp(join(tmpdir(), 'evictd-prune-'));
  await mkdir(join(folder, 'work'));
});
afterAll(async () => {
  await azurite?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function keep(count: number): Promise<void> {
  const config = {
    vm: { name: 'vm-1' },
    checkpoint: {
      store: { url, auth: { kind: 'azurite' } },
      sets: [{ name: 'job', path: join(folder, 'work') }],
      keep: count,
    },
    state: { dir: join(folder, 'state') },
    control: { socket: join(folder, 'evictd.sock') },
    imds: { endpoint: 'http://127.0.0.1:9' },
  };
  await writeFile(join(folder, 'config.yaml'), JSON.stringify(config), { mode: 0o600 });
}

const evictd = (...args: string[]) =>
  runBundle([...args, '--config', join(folder, 'config.yaml')], { env: {} });

async function ids(): Promise<unknown> {
  const { checkpoints } = JSON.parse((await evictd('checkpoints', '--json')).stdout) as {
    // Of the command's own contract.
    checkpoints: { id: string }[];
  };
  return checkpoints.map(({ id }) => id);
}

test(
  'older checkpoints are removed on demand and after a checkpoint, and the newest is restored as it was',
  { timeout: PROCESS_TEST_MS },
  async () => {
    await keep(10);
    for (const content of ['1', '2', '3']) {
      await writeFile(join(folder, 'work', 'state'), content);
      expect(await evictd('checkpoint')).toMatchObject({ code: 0 });
    }
    await keep(2);
    const planned = await evictd('checkpoints', 'prune', '--dry-run');
    expect(planned).toMatchObject({
      code: 0,
      stdout: 'job: would remove checkpoints 00000001, 1 snapshot, 0 blobs\n',
    });
    expect(await ids()).toEqual(['00000003', '00000002', '00000001']);
    const removed = await evictd('checkpoints', 'prune', '--set', 'job', '--json');
    expect(JSON.parse(removed.stdout)).toEqual({
      key: 'vm-1',
      dryRun: false,
      sets: [{ set: 'job', removed: ['00000001'], snapshots: 1, blobs: 0 }],
    });
    expect(await evictd('checkpoints', 'prune')).toMatchObject({
      code: 3,
      stdout: 'job: nothing to remove\n',
    });
    await rm(join(folder, 'work', 'state'));
    await writeFile(join(folder, 'work', 'other'), '4');
    expect(await evictd('checkpoint')).toMatchObject({ code: 0 });
    expect(await ids()).toEqual(['00000004', '00000003']);
    expect(await evictd('restore', '--to', join(folder, 'to'))).toMatchObject({ code: 0 });
    expect(await readFile(join(folder, 'to', 'other'), 'utf8')).toBe('4');
  },
);
