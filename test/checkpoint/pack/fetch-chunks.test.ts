import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import { chunkIdOf } from '../../../src/checkpoint/format/chunk-id.ts';
import type { StoredChunk } from '../../../src/checkpoint/format/chunk.ts';
import { compressFrame } from '../../../src/checkpoint/format/zstd-frame.ts';
import { fetchChunks } from '../../../src/checkpoint/pack/fetch-chunks.ts';
import type { FetchOrder } from '../../../src/checkpoint/pack/fetch-chunks.ts';
import { testFolder } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { HASH, KIB, never, noise } from './pack-rig.ts';

const PACK = 'p/pack';

/** A pack with these contents, after some bytes of something else. */
async function packOf(contents: readonly Uint8Array[], { compress = false } = {}) {
  const blobs = createMemoryBlobs();
  const bodies = contents.map((content) => (compress ? compressFrame(content) : content));
  let offset = 10;
  const chunks = bodies.map((body, index): StoredChunk => {
    const content = contents[index] ?? body;
    const chunk = {
      id: chunkIdOf(content, HASH),
      plain: content.length,
      pack: 'pack',
      offset,
      stored: body.length,
    };
    offset += body.length;
    return chunk;
  });
  const store = blobs.connect();
  await store.create(PACK, Buffer.concat([Buffer.alloc(10), ...bodies]), { contentType: '' }, never);
  return { blobs, store, chunks, bytes: offset - 10 };
}

const order = { pack: PACK, offset: 10, hash: HASH };

test('chunks and frames come to their places, the same one to several', async () => {
  await using folder = await testFolder();
  for (const compress of [false, true]) {
    const contents = [Buffer.from('some text '.repeat(500)), Buffer.from('other '.repeat(999))];
    const { store, chunks, bytes } = await packOf(contents, { compress });
    const path = join(folder.path, String(compress));
    await using file = await open(path, 'w+');
    const [first, second] = chunks;
    if (first === undefined || second === undefined) throw new Error('there are two');
    const places = [
      [first, 20_000],
      [first, 100],
      [second, 6000],
    ] as const;
    const placements = places.map(([chunk, position]) => ({ chunk, fd: file.fd, position }));
    expect(await fetchChunks({ ...order, bytes, chunks: placements }, store, never)).toEqual({ wrong: [] });
    const found = await readFile(path);
    expect(found.subarray(20_000).equals(contents[0] ?? found)).toBe(true);
    expect(found.subarray(100, 5100).equals(contents[0] ?? found)).toBe(true);
    expect(found.subarray(6000, 6000 + 5994).equals(contents[1] ?? found)).toBe(true);
    expect(store.calls.filter(({ operation }) => operation === 'read')).toHaveLength(1);
  }
});

test('chunks that are not what they should be are named and not written', async () => {
  await using folder = await testFolder();
  const contents = [noise(KIB), noise(KIB, 2), noise(KIB, 3), noise(KIB, 4)];
  const { blobs, store, chunks, bytes } = await packOf(contents);
  blobs.corrupt(PACK, (content) => content.fill(1, 10 + KIB, 10 + KIB + 1));
  await using file = await open(join(folder.path, 'f'), 'w+');
  const placements = chunks.map((chunk, index) => ({ chunk, fd: file.fd, position: index * KIB }));
  const hostile = [
    // A frame that isn't one, one of another length, and chunks that reach out of the stretch.
    { ...placements[0], chunk: { ...chunks[0], stored: KIB - 1 } },
    { ...placements[0], chunk: { ...chunks[0], offset: 0 } },
    { ...placements[0], chunk: { ...chunks[0], offset: 10 + bytes } },
    { ...placements[0], chunk: { ...chunks[0], stored: 2 * KIB } },
  ] as FetchOrder['chunks']; // There is a first one.
  const result = await fetchChunks({ ...order, bytes, chunks: [...placements, ...hostile] }, store, never);
  expect(result).toEqual({ wrong: [1, 4, 5, 6, 7] });
  const found = await readFile(join(folder.path, 'f'));
  const expected = Buffer.concat([noise(KIB), Buffer.alloc(KIB), noise(KIB, 3), noise(KIB, 4)]);
  expect(found.equals(expected)).toBe(true);
});

test('a frame of more than the chunk is not unpacked', async () => {
  const { store, chunks, bytes } = await packOf([Buffer.alloc(1024 * KIB)], { compress: true });
  await using folder = await testFolder();
  await using file = await open(join(folder.path, 'f'), 'w+');
  const [chunk] = chunks;
  const small = { ...chunk, plain: 512 * KIB } as StoredChunk; // There is one.
  const result = await fetchChunks(
    { ...order, bytes, chunks: [{ chunk: small, fd: file.fd, position: 0 }] },
    store,
    never,
  );
  expect(result).toEqual({ wrong: [0] });
});

test('what the store and the system say against it', async () => {
  const { store, chunks, bytes } = await packOf([noise(KIB)]);
  await using full = await open('/dev/full', 'w');
  const placements = chunks.map((chunk) => ({ chunk, fd: full.fd, position: 0 }));
  const whole = { ...order, bytes, chunks: placements };
  const failure = await fetchChunks(whole, store, never).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(EvictdError);
  expect(failure).toMatchObject({ code: 'ENOSPC', message: expect.stringContaining('no space left') });
  await expect(fetchChunks({ ...whole, pack: 'p/other' }, store, never)).rejects.toMatchObject({
    code: 'not-found',
  });
  await expect(fetchChunks({ ...whole, bytes: bytes + 1 }, store, never)).rejects.toMatchObject({
    code: 'bad-answer',
  });
  const reason = new EvictdError('aborted', 'no time');
  await expect(fetchChunks(whole, store, AbortSignal.abort(reason))).rejects.toBe(reason);
});
