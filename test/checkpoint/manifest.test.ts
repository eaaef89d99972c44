import fc from 'fast-check';
import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { EvictdError } from '../../src/base/errors.ts';
import { listCheckpoints } from '../../src/checkpoint/list.ts';
import { encodeManifest } from '../../src/checkpoint/manifest-format.ts';
import { parseManifest, readManifest } from '../../src/checkpoint/manifest.ts';
import type { Manifest } from '../../src/checkpoint/schema.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { createTransfer, TRANSFER_LIMITS } from '../../src/checkpoint/transfer.ts';
import { writeManifest } from '../../src/checkpoint/write-manifest.ts';
import { never, PLACE } from '../support/checkpoints.ts';
import { manifestFile } from '../support/manifest-file.ts';
import { countCalls, createMemoryService } from '../support/memory-store.ts';

const ID = '00000007';
const NAME = `p/vm-1/job/checkpoints/${ID}.json`;
const EXPECTED = { set: PLACE.set, id: ID };

function manifestOf(paths: readonly string[]): Manifest {
  const owner = { uid: 0, gid: 0 };
  return {
    version: 3,
    id: ID,
    parent: '00000006',
    key: PLACE.key,
    set: PLACE.set,
    hashKey: `${'A'.repeat(22)}==`,
    createdAt: '2026-01-01T00:00:00.000Z',
    reason: 'command',
    writer: { vmName: 'vm-1', vmId: 'id', bootId: 'boot', process: 'p' },
    totals: { files: paths.length, bytes: paths.length, bytesSent: 0 },
    filesChanging: 0,
    root: { mode: 0o755, ...owner },
    files: paths.map(manifestFile),
    directories: [{ path: 'dir', mode: 0o755, mtimeNs: '1', ...owner }],
    symlinks: [{ path: 'link', target: 'anywhere', ...owner }],
    hardLinks: [{ path: 'other-name', target: paths[0] ?? '' }],
  };
}

const MANIFEST = manifestOf(['a', 'dir/b', 'line\nbreak', 'bytes\udcff', '"],"directories":[', '😀']);

test('a manifest has a line for its head and one for each entry, and is one JSON object', async () => {
  const body = Buffer.concat(await encodeManifest(MANIFEST, never()));
  const lines = body.toString('utf8').split('\n');
  expect(lines).toHaveLength(1 + 6 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1);
  expect(JSON.parse(body.toString('utf8'))).toEqual(MANIFEST);
  expect(await parseManifest(body, NAME, EXPECTED, never())).toEqual(MANIFEST);
});

test.each([undefined, 1, 2])('it is read in any other spelling too: indented by %s', async (indent) => {
  const parse = (value: unknown) =>
    parseManifest(Buffer.from(JSON.stringify(value, undefined, indent)), NAME, EXPECTED, never());
  expect(await parse(MANIFEST)).toEqual(MANIFEST);
});

test.each(['files', 'directories', 'symlinks'])('%s have to be there, and to be a list', async (list) => {
  for (const value of [undefined, null, {}, 'text', [1]]) {
    const body = Buffer.from(JSON.stringify({ ...MANIFEST, [list]: value }));
    await expect(parseManifest(body, NAME, EXPECTED, never())).rejects.toMatchObject({
      code: 'bad-manifest',
    });
  }
});

test('one that is cut off anywhere, or goes on after its end, is bad', async () => {
  const body = Buffer.concat(await encodeManifest(MANIFEST, never()));
  for (let length = 0; length < body.length - 1; length++) {
    await expect(parseManifest(body.subarray(0, length), NAME, EXPECTED, never())).rejects.toMatchObject({
      code: 'bad-manifest',
    });
  }
  const longer = Buffer.concat([body, Buffer.from('x\n')]);
  await expect(parseManifest(longer, NAME, EXPECTED, never())).rejects.toMatchObject({
    code: 'bad-manifest',
  });
});

test('whatever is changed in it, it is another good one or a bad one, never a crash', async () => {
  const body = Buffer.concat(await encodeManifest(MANIFEST, never()));
  await fc.assert(
    fc.asyncProperty(
      fc.nat(body.length - 1),
      fc.uint8Array({ maxLength: 8 }),
      fc.nat(8),
      async (at, put, cut) => {
        const changed = Buffer.concat([body.subarray(0, at), put, body.subarray(at + cut)]);
        const error: unknown = await parseManifest(changed, NAME, EXPECTED, never()).catch(
          (thrown: unknown) => thrown,
        );
        if (error instanceof Error) expect(error).toBeInstanceOf(EvictdError);
      },
    ),
    { numRuns: 1000 },
  );
});

test('of a large one only the beginning is fetched to list it; one without lines is fetched whole', async () => {
  const paths = ['a', ...Array.from({ length: 3000 }, (_, number) => `file-${number}`)];
  const service = createMemoryService();
  const put = async (id: string, body: Uint8Array) => {
    const write = { condition: { ifNone: true }, metadata: {}, contentType: 'application/json' } as const;
    await service.connect().put(`p/vm-1/job/checkpoints/${id}.json`, body, write, never());
  };
  const manifest = manifestOf(paths);
  const whole = Buffer.from(JSON.stringify({ ...manifest, id: '00000008' }));
  await put(ID, Buffer.concat(await encodeManifest(manifest, never())));
  await put('00000008', whole);
  const store = service.connect();
  const listed = await listCheckpoints(PLACE, { store }, never());
  expect(listed).toMatchObject([
    { kind: 'usable', id: '00000008', files: 3001 },
    { kind: 'usable', id: ID, files: 3001 },
  ]);
  expect(countCalls(store, 'read')).toBe(3);
});

/** Writes the first manifest of a set, or says what hinders that. */
function write(store: BlobStore, paths: readonly string[]) {
  const content = manifestOf(paths);
  const context = {
    prefix: `p/vm-1/job/`,
    store,
    transfer: createTransfer(TRANSFER_LIMITS, { clock: systemClock }),
    writer: content.writer,
    id: ID,
  };
  const base = { parent: '00000006', newest: undefined };
  return writeManifest(() => context, base, content, never());
}

const MANY = Array.from({ length: 20_000 }, (_, number) => `dir/${number}${'x'.repeat(200)}`);

test('a large manifest is sent in blocks, and when that is broken off, a small one can take its place', async () => {
  const service = createMemoryService();
  const store = service.connect();
  expect(await write(store, MANY)).toBe(ID);
  expect(countCalls(store, 'put')).toBe(0);
  expect(countCalls(store, 'stageBlock')).toBeGreaterThan(1);
  const manifest = await readManifest(service.connect(), PLACE, ID, never());
  expect(manifest.files).toHaveLength(MANY.length);

  const other = createMemoryService();
  const broken = other.connect({
    before({ operation }) {
      if (operation === 'commitBlocks') throw new EvictdError('unavailable', 'not now');
    },
  });
  await expect(write(broken, MANY)).rejects.toMatchObject({ code: 'unavailable' });
  // Some services take the blocks that are left for a blob that is there.
  const strict = other.connect({
    before({ operation }) {
      if (operation === 'put') throw new EvictdError('conflict', 'something is there');
    },
  });
  expect(await write(strict, ['a'])).toBe(ID);
  expect((await readManifest(other.connect(), PLACE, ID, never())).files).toHaveLength(1);
});
