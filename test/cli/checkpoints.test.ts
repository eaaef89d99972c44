import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { Entry } from '../../src/checkpoint/format/entry.ts';
import { type AzureStore, createAzureStore } from '../../src/checkpoint/store/azure/azure-store.ts';
import { shownText } from '../../src/base/shown.ts';
import { type Azurite, startAzurite } from '../support/azurite.ts';
import { createMadeWriter } from '../support/made-store.ts';
import { runBundle } from './support.ts';

/* The commands on what is in the store; what a daemon or a `checkpoint` would write there is made. */

let azurite: Azurite;
let folder: string;
let store: AzureStore;

beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => {
  await azurite?.stop();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-checkpoints-'));
  const url = azurite.containerUrl();
  const config = {
    vm: { name: 'vm-1' },
    checkpoint: { store: { url: `${url}/p`, auth: { kind: 'azurite' } }, sets: [], keep: 1 },
    state: { dir: join(folder, 'state') },
    control: { socket: join(folder, 'evictd.sock') },
    imds: { endpoint: 'http://127.0.0.1:9' },
  };
  await writeFile(join(folder, 'config.yaml'), JSON.stringify(config), { mode: 0o600 });
  store = await createAzureStore({ url, auth: { kind: 'azurite' } }, { clock: systemClock });
  await store.ensureContainer(new AbortController().signal);
});
afterEach(async () => {
  await store.close();
  await rm(folder, { recursive: true, force: true });
});

function evictd(...args: readonly string[]) {
  return runBundle(['checkpoints', ...args, '--config', join(folder, 'config.yaml')]);
}

async function json(...args: readonly string[]): Promise<unknown> {
  return JSON.parse((await evictd(...args, '--json')).stdout);
}

const writerOf = (set: string) => createMadeWriter(store, { place: { prefix: 'p', key: 'vm-1', set } });

/** A takeover and two checkpoints of the set `job`. */
async function twoCheckpoints() {
  const writer = writerOf('job');
  await writer.takeOver();
  const link: Entry = { type: 'symlink', path: 'l', mode: 0o777, uid: 0, gid: 0, mtimeNs: 0n, target: 'd/a' };
  await writer.commit({ 'd/a': 'one', goes: 'two' }, { more: [link], lost: ['locked'] });
  const hard: Entry = { type: 'hardlink', path: 'same', target: 'd/a' };
  await writer.commit(
    { 'd/a': 'one', 'd/b\u001B[2J': 'three', l: 'a file' },
    { more: [hard], reason: 'notice' },
  );
  return writer;
}

test('without anything in the store each ends with 3, and says where it looked', async () => {
  for (const args of [
    [],
    ['show'],
    ['diff', '00000001', '00000002'],
    ['verify'],
    ['keep', '00000001'],
    ['prune'],
  ]) {
    const { code, stdout, stderr } = await evictd(...args);
    expect({ args, code, stdout }).toEqual({ args, code: 3, stdout: '' });
    expect(stderr).toContain('vm-1');
  }
  expect(await json()).toEqual({ key: 'vm-1', checkpoints: [] });
});

test('checkpoints are listed, with what is to be known of each', async () => {
  await twoCheckpoints();
  const { code, stdout } = await evictd();
  expect(code).toBe(0);
  expect(stdout).toBe(
    'SET  ID        CREATED                   REASON    FILES  SIZE  SENT  VM    NOTES\n' +
      'job  00000003  2026-01-01T00:00:00.000Z  notice    3      14 B  0 B   vm-1\n' +
      'job  00000002  2026-01-01T00:00:00.000Z  schedule  2      6 B   0 B   vm-1  1 lost\n',
  );
  expect(await json()).toMatchObject({
    key: 'vm-1',
    checkpoints: [
      {
        kind: 'usable',
        set: 'job',
        id: '00000003',
        files: 3,
        bytes: 14,
        held: null,
        partial: false,
        lost: 0,
      },
      { kind: 'usable', set: 'job', id: '00000002', lost: 1, changing: 0 },
    ],
  });
});

test('show tells what a checkpoint is and all that is in it', async () => {
  await twoCheckpoints();
  const { code, stdout } = await evictd('show');
  expect(code).toBe(0);
  expect(stdout).toContain('checkpoint: 00000003 of job, made 2026-01-01T00:00:00.000Z (notice)\n');
  expect(stdout).toMatch(/content: {4}3 packs of .*, of which it needs 14 B\n/);
  expect(stdout.split('\n').slice(-6)).toEqual([
    'drwxr-xr-x   1000:1000             2023-11-14T22:13:20Z  d',
    '-rw-r--r--   1000:1000         3 B 2023-11-14T22:13:20Z  d/a',
    String.raw`-rw-r--r--   1000:1000         5 B 2023-11-14T22:13:20Z  d/b\u{1b}[2J`,
    '-rw-r--r--   1000:1000         6 B 2023-11-14T22:13:20Z  l',
    expect.stringMatching(/^= {50,}same = d\/a$/),
    '',
  ]);
  const old = await evictd('show', '00000002', '--summary');
  expect(old.stdout).toContain('lost:       1: locked\n');
  expect(old.stdout).not.toContain('drwx');
  expect(await json('show', '00000002')).toMatchObject({
    key: 'vm-1',
    set: 'job',
    id: '00000002',
    parent: { id: '00000001' },
    totals: { files: 2, bytes: 6 },
    hash: 'gmac-128',
    stored: { data: { packs: 2, used: 6 }, metadata: { packs: 1 } },
    entries: [
      { type: 'directory', path: 'd', mode: 0o755 },
      { type: 'file', path: 'd/a', size: 3, mtimeNs: '1700000000123456789' },
      { type: 'file', path: 'goes' },
      { type: 'symlink', path: 'l', target: 'd/a' },
    ],
  });
  expect(await evictd('show', '00000001')).toMatchObject({ code: 3, stdout: '' });
});

test('diff tells what changed', async () => {
  await twoCheckpoints();
  expect(await evictd('diff', '00000002', '00000003')).toMatchObject({
    code: 0,
    stdout: ['+ d/b\\u{1b}[2J  5 B', '- goes  3 B', '* l  type', '+ same', ''].join('\n'),
  });
  expect(await evictd('diff', '00000002', '00000002')).toMatchObject({
    code: 3,
    stdout: '00000002 and 00000002 are the same\n',
  });
  expect(await json('diff', '00000003', '00000002')).toMatchObject({
    key: 'vm-1',
    set: 'job',
    before: '00000003',
    after: '00000002',
    changes: [
      { kind: 'removed', path: 'd/b\u001B[2J', before: { type: 'file', size: 5 } },
      { kind: 'added', path: 'goes', after: { size: 3 } },
      { kind: 'changed', path: 'l', what: ['type'], before: { type: 'file' }, after: { type: 'symlink' } },
      { kind: 'removed', path: 'same' },
    ],
  });
  expect(await json('diff', '00000002', '00000002')).toMatchObject({ changes: [] });
});

test('verify reads back what there is, by the threads, and tells what is damaged', async () => {
  const writer = await twoCheckpoints();
  const whole = await evictd('verify');
  expect(whole).toMatchObject({ code: 0, stderr: '' });
  expect(whole.stdout).toBe('job 00000003: whole: 3 files, 3 of 3 chunks read back, 14 B\n');
  expect((await evictd('verify', '00000002', '--sample', '0%')).stdout).toMatch(
    /whole: 2 files, 0 of 2 chunks/,
  );
  expect(await evictd('verify', '--sample', '101%')).toMatchObject({ code: 2, stdout: '' });

  const { metadata } = await writer.commit({ 'd/a': 'one', big: 'x'.repeat(1000) });
  const signal = new AbortController().signal;
  const all = (await store.list('p/vm-1/sets/job/packs/', {}, signal)).items.filter(
    ({ bytes }) => bytes > 1000,
  );
  const name = all.find((item) => !metadata.some((use) => item.name.endsWith(use.name)))?.name ?? '';
  const pack = await store.read(name, { bytesMax: 5000 }, signal);
  await store.remove(name, signal);
  pack.fill(0, 0, 10);
  await store.create(name, pack, { contentType: 'application/octet-stream' }, signal);
  expect(await evictd('verify')).toMatchObject({
    code: 1,
    stdout:
      'job 00000004: DAMAGED: 2 files, 2 of 2 chunks read back, 1003 B\n  big: 1 chunk with other content\n',
  });
  await store.remove(name, signal);
  const gone = await evictd('verify', '--json');
  expect(gone.code).toBe(1);
  expect(JSON.parse(gone.stdout)).toMatchObject({
    key: 'vm-1',
    sets: [
      {
        set: 'job',
        id: '00000004',
        isWhole: false,
        packs: { count: 1, first: [{ problem: 'gone' }] },
        damaged: { count: 1, first: [{ path: 'big', missing: 1, wrong: 0 }] },
      },
    ],
  });
});

test('keep keeps a checkpoint until it is released', async () => {
  await twoCheckpoints();
  expect(await evictd('keep', '00000002')).toMatchObject({
    code: 0,
    stdout: 'job 00000002 is kept from now on; --release ends that\n',
  });
  expect((await evictd()).stdout).toContain('1 lost, kept\n');
  expect((await evictd('show', '00000002', '--summary')).stdout).toMatch(
    /\nkept: {7}by evictd checkpoints keep, on /,
  );
  expect(await evictd('keep', '00000002')).toMatchObject({ code: 3 });
  const released = await evictd('keep', '00000002', '--release', '--json');
  expect(released.code).toBe(0);
  expect(JSON.parse(released.stdout)).toEqual({
    key: 'vm-1',
    set: 'job',
    id: '00000002',
    kept: false,
    changed: true,
  });
  expect(await evictd('keep', '00000002', '--release')).toMatchObject({ code: 3 });
  expect(await evictd('keep', '00000001')).toMatchObject({ code: 3, stdout: '' });
});

test('prune removes packs that nobody needs, and no checkpoint of the last hour', async () => {
  const first = writerOf('job');
  await first.takeOver();
  await first.stage('left behind by a writer that was succeeded');
  await twoCheckpointsAfter();
  const planned = await evictd('prune', '--dry-run');
  expect(planned.code).toBe(0);
  expect(planned.stdout).toMatch(/^job: would remove no checkpoint and 1 pack, \d+ B\n$/);
  const removed = await evictd('prune', '--json');
  expect(removed).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(removed.stdout)).toMatchObject({
    key: 'vm-1',
    dryRun: false,
    sets: [{ set: 'job', removed: [], packs: 1, bytesRetained: 0, held: [], refused: [], end: 'done' }],
  });
  expect(await evictd('prune')).toMatchObject({ code: 3, stdout: 'job: nothing to remove\n' });
  expect((await evictd('verify')).code).toBe(0);

  async function twoCheckpointsAfter() {
    const writer = createMadeWriter(store, {
      place: { prefix: 'p', key: 'vm-1', set: 'job' },
      line: { point: { id: '00000001', sha256: '0'.repeat(64) } },
    });
    await writer.takeOver();
    await writer.commit({ a: 'one' });
  }
});

test('one set of several has to be named where only one can be meant', async () => {
  for (const set of ['one', 'two']) {
    const writer = writerOf(set);
    await writer.takeOver();
    await writer.commit({ a: set });
  }
  for (const args of [
    ['show'],
    ['keep', '00000002'],
    ['diff', '00000002', '00000002'],
    ['verify', '00000002'],
  ]) {
    const { code, stderr } = await evictd(...args);
    expect({ args, code }).toEqual({ args, code: 2 });
    expect(stderr).toContain('--set NAME (one, two)');
  }
  expect((await evictd('verify')).stdout.match(/whole/g)).toHaveLength(2);
  expect((await evictd('show', '--set', 'two', '--summary')).stdout).toContain('00000002 of two');
  expect(await evictd('show', '--set', 'three')).toMatchObject({ code: 3 });
});

test('text of others can not move the cursor', () => {
  expect(shownText('a\u001B[2J\u009B\u202Eb\n\u{DC80}ü 日')).toBe(
    String.raw`a\u{1b}[2J\u{9b}\u{202e}b\u{a}\u{dc80}ü 日`,
  );
});
