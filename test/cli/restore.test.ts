import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { type Azurite, startAzurite } from '../support/azurite.ts';
import { type BlobProxy, createBlobProxy, operations, type ProxiedRequest } from '../support/blob-proxy.ts';
import { startEvictd } from '../support/evictd-process.ts';
import { pattern, readTree, writeTree } from '../support/file-tree.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { runBundle } from './support.ts';

const MIB = 1024 ** 2;
const OLD = 1_700_000_000;
const PACK_READ = (request: ProxiedRequest) => operations.read(request) && request.path.includes('/packs/');
/** All but a tree, and what small files hold. */
const LARGE_READ = (request: ProxiedRequest) => {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(String(request.headers['x-ms-range'])) ?? [];
  return PACK_READ(request) && Number(to) - Number(from) > MIB;
};

let azurite: Azurite;
let proxy: BlobProxy;
let folder: string;
let job: string;
let env: Record<string, string>;

beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite?.stop());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-restore-cli-'));
  job = join(folder, 'job');
  proxy = await createBlobProxy(azurite.containerUrl());
  env = {};
  const config = {
    vm: { name: 'vm-1' },
    checkpoint: {
      store: { url: proxy.url, auth: { kind: 'azurite' } },
      sets: [
        { name: 'job', path: job, priority: 2 },
        { name: 'logs', path: join(folder, 'logs'), priority: 1 },
      ],
    },
    state: { dir: join(folder, 'state') },
    control: { socket: join(folder, 'evictd.sock') },
    imds: { endpoint: 'http://127.0.0.1:9' },
  };
  await writeFile(join(folder, 'config.yaml'), JSON.stringify(config), { mode: 0o600 });
  return async () => {
    await proxy.close();
    await rm(folder, { recursive: true, force: true });
  };
});

function evictd(...args: readonly string[]) {
  return runBundle([...args, '--config', join(folder, 'config.yaml')], { env });
}

/** Writes both sets, checkpoints them, and answers what they hold. */
async function saved(tree: Parameters<typeof writeTree>[1]) {
  await mkdir(job);
  await writeTree(job, tree);
  await mkdir(join(folder, 'logs'));
  await writeFile(join(folder, 'logs/log'), 'line\n');
  await using imds = await startTestImds({ vm: { name: 'vm-1' } });
  expect(await evictd('checkpoint', '--imds', imds.url)).toMatchObject({ code: 0, stderr: '' });
  proxy.reset();
  return { job: await readTree(job), logs: await readTree(join(folder, 'logs')) };
}

async function treeOf(path: string) {
  const { '.evictd-restored': mark, ...tree } = await readTree(path);
  return { tree, isMarked: mark !== undefined };
}

describe('without --to', () => {
  test('each set comes back into its own folder, and a second start does nothing, even without the store', async () => {
    const trees = await saved({ a: { kind: 'file', content: 'a' }, 'b/c': { kind: 'file', content: 'c' } });
    await rm(job, { recursive: true });
    await rm(join(folder, 'logs'), { recursive: true });
    const first = await evictd('restore');
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toMatch(/^restored logs 0+2 of .*\nrestored job 0+2 of .*: 2 files, 2 B .*\n$/);
    expect(await treeOf(job)).toEqual({ tree: trees.job, isMarked: true });
    expect(await treeOf(join(folder, 'logs'))).toEqual({ tree: trees.logs, isMarked: true });

    await writeFile(join(job, 'a'), 'written by the workload since');
    proxy.reset();
    env = { EVICTD_VM_NAME: 'auto' };
    const second = await evictd('restore', '--json');
    expect(second).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(second.stdout)).toMatchObject({
      sets: [
        { set: 'logs', outcome: 'already-restored', id: '00000002' },
        { set: 'job', target: job, outcome: 'already-restored', id: '00000002' },
      ],
    });
    expect(proxy.requests).toEqual([]);
    expect(await readFile(join(job, 'a'), 'utf8')).toBe('written by the workload since');

    env = {};
    expect(await evictd('restore', '--force', '--set', 'job')).toMatchObject({ code: 0 });
    expect(await treeOf(job)).toEqual({ tree: trees.job, isMarked: true });
  });

  test('a folder with newer files is left, and says so', async () => {
    await saved({ a: { kind: 'file', content: 'a' } });
    await writeFile(join(job, 'a'), 'newer');
    const { code, stdout } = await evictd('restore', '--set', 'job');
    expect(code).toBe(0);
    expect(stdout).toBe(
      `left ${job} as it is: "a" was changed after job 00000002 was made (--force restores over it)\n`,
    );
    expect(await readFile(join(job, 'a'), 'utf8')).toBe('newer');
  });

  test('a set that fails is told, and keeps no other one from coming back', async () => {
    const trees = await saved({ a: { kind: 'file', content: 'a' } });
    await rm(job, { recursive: true });
    await rm(join(folder, 'logs'), { recursive: true });
    await writeFile(join(folder, 'logs'), 'a file in the place of the folder');
    const { code, stdout, stderr } = await evictd('restore', '--json');
    expect(code).toBe(1);
    expect(stderr).toContain(join(folder, 'logs'));
    expect(JSON.parse(stdout)).toMatchObject({
      sets: [
        { set: 'logs', outcome: 'failed' },
        { set: 'job', outcome: 'restored', files: 1 },
      ],
    });
    expect((await treeOf(job)).tree).toEqual(trees.job);
  });

  test('with no checkpoint of any set the exit code is 3', async () => {
    // The first command makes the emulator's container.
    await evictd('checkpoints');
    const { code, stdout, stderr } = await evictd('restore');
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toContain('vm-1/sets/job');
    expect(stderr).toContain('vm-1/sets/logs');
  });

  test('a set that the configuration does not have needs --to', async () => {
    const { code, stderr } = await evictd('restore', '--set', 'other');
    expect(code).toBe(2);
    expect(stderr).toContain('no set "other"');
  });
});

describe('--wait', () => {
  test('goes on trying while the store refuses, and without it the first refusal ends the restore', async () => {
    const trees = await saved({ a: { kind: 'file', content: 'a' } });
    await rm(job, { recursive: true });
    const refusal = { fault: { kind: 'status', status: 403 }, match: operations.list } as const;
    proxy.fail(refusal);
    expect(await evictd('restore', '--set', 'job')).toMatchObject({ code: 1 });
    proxy.fail(refusal);
    const waited = await evictd('restore', '--set', 'job', '--wait', '20s');
    expect(waited.code).toBe(0);
    expect(waited.stderr).toContain('trying again');
    expect((await treeOf(job)).tree).toEqual(trees.job);
  });

  test('also while the container of an emulator can not be made', async () => {
    const trees = await saved({ a: { kind: 'file', content: 'a' } });
    await rm(job, { recursive: true });
    const isMaking = ({ method, query }: ProxiedRequest) =>
      method === 'PUT' && query.get('restype') === 'container';
    proxy.fail({ fault: { kind: 'status', status: 403 }, match: isMaking });
    const { code, stderr } = await evictd('restore', '--set', 'job', '--wait', '20s');
    expect(code).toBe(0);
    expect(stderr).toContain('trying again');
    expect((await treeOf(job)).tree).toEqual(trees.job);
  });
});

/** What a restore into `job` may come upon: older versions of files, one that is right, and none. */
async function older() {
  await rm(job, { recursive: true });
  await writeTree(job, {
    big: { kind: 'file', content: pattern(9 * MIB, 7), mtimeS: OLD },
    'small/0': { kind: 'file', content: 'old', mtimeS: OLD },
    'small/1': { kind: 'file', content: 'new 1', mtimeS: OLD },
  });
}

const TREE: Parameters<typeof writeTree>[1] = {
  big: { kind: 'file', content: pattern(18 * MIB, 3) },
  'deep/er/big': { kind: 'file', content: pattern(9 * MIB, 4) },
  ...Object.fromEntries(
    Array.from({ length: 30 }, (_, i) => [`small/${i}`, { kind: 'file' as const, content: `new ${i}` }]),
  ),
};

function contentOf(entry: string): string {
  return entry.replace(/^file \d+ \d+ /, '');
}

describe('stopped in the middle', () => {
  test('by SIGINT, it leaves no partial file, and exits with 1', async () => {
    await saved(TREE);
    await older();
    const before = await readTree(job);
    proxy.fail({ fault: { kind: 'hang' }, match: LARGE_READ, times: 99 });
    await using running = startEvictd(['restore', '--set', 'job', '--config', join(folder, 'config.yaml')]);
    await proxy.arrived(LARGE_READ);
    process.kill(running.pid, 'SIGINT');
    expect(await running.ended).toEqual({ code: 1, signal: null });
    const names = await readdir(job, { recursive: true });
    expect(names.filter((name) => name.includes('.evictd-restore-'))).toEqual([]);
    expect(names).toContain('.evictd-restoring');
    expect((await readTree(job))['big']).toBe(before['big']);
  });

  test('by SIGKILL at any point, each file is the old or the new one, and the next run completes it', async () => {
    const trees = await saved(TREE);
    // There are seven: the tree, five of large files, and one of all small ones.
    for (const reads of [1, 2, 4, 6, 7, 8]) {
      await older();
      const before = await readTree(job);
      proxy.reset();
      {
        await using running = startEvictd([
          'restore',
          '--set',
          'job',
          '--config',
          join(folder, 'config.yaml'),
        ]);
        await Promise.race([proxy.arrived(PACK_READ, reads), running.ended]);
        await running.kill();
      }
      for (const [path, entry] of Object.entries(await readTree(job))) {
        if (path.includes('.evictd-restor') || !entry.startsWith('file')) continue;
        const known = [before[path], trees.job[path]].flatMap((one) =>
          one === undefined ? [] : contentOf(one),
        );
        expect(known, `${path} after ${reads} reads`).toContain(contentOf(entry));
      }
      expect(await evictd('restore', '--set', 'job')).toMatchObject({ code: 0, stderr: '' });
      expect(await treeOf(job)).toEqual({ tree: trees.job, isMarked: true });
    }
  }, 120_000);
});
