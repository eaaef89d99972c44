import { appendFileSync } from 'node:fs';
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { chunkIdOf } from '../../../src/checkpoint/format/chunk-id.ts';
import { isStored } from '../../../src/checkpoint/format/chunk.ts';
import { countCalls } from '../../support/memory-blobs.ts';
import {
  contentOf,
  CUT,
  HASH,
  KIB,
  MIB,
  never,
  noise,
  PREFIX,
  readOf,
  sendingRig,
  storedContent,
  whole,
} from './pack-rig.ts';
import { decodePackEnd } from '../../support/pack-end.ts';

test('files of all sizes come back from the packs byte by byte, and each pack says what it holds', async () => {
  await using field = await sendingRig();
  const sizes = [0, 1, 4095, 64 * KIB, 64 * KIB + 1, 600 * KIB, 5 * MIB + 3];
  const contents = sizes.map((size, seed) => noise(size, seed));
  await mkdir(field.at('a/b'), { recursive: true });
  const paths = sizes.map((size, index) => `${['', 'a/', 'a/b/'][index % 3]}f${size}`);
  for (const [index, path] of paths.entries()) await writeFile(field.at(path), contents[index] ?? '');
  const results = await field.feed(paths.map((path, index) => whole(path, sizes[index] ?? 0)));
  await field.sender.flush(never);

  for (const [index, content] of contents.entries()) {
    const { chunks, before, after, isUnlinked, packs, bytesNew } = readOf(results[index]);
    expect(contentOf(field.blobs, chunks).equals(content)).toBe(true);
    expect(after).toEqual(before);
    expect(before.size).toBe(content.length);
    expect({ isUnlinked, bytesNew }).toEqual({ isUnlinked: false, bytesNew: content.length });
    expect(packs).toEqual([...new Set(chunks.flatMap((chunk) => (isStored(chunk) ? chunk.pack : [])))]);
  }
  const small = new Set(results.slice(0, 6).flatMap((result) => readOf(result).packs));
  expect(readOf(results[6]).packs.some((name) => small.has(name))).toBe(false);
  const begun = field.events.filter(({ kind }) => kind === 'began');
  expect(begun.map(({ name }) => name).sort()).toEqual([...field.stored()].sort());
  for (const name of field.stored()) {
    const content = field.blobs.content(PREFIX + name) ?? Buffer.alloc(0);
    const rows = decodePackEnd(content, content.length, name);
    for (const { id, kind, offset, stored } of rows) {
      expect(chunkIdOf(content.subarray(offset, offset + stored), HASH)).toBe(id);
      expect(kind).toBe('data');
    }
    expect(rows.length).toBeGreaterThan(0);
  }
});

test('only what differs from the version before is stored again', async () => {
  await using field = await sendingRig();
  const path = field.at('f');
  const content = noise(10 * CUT.chunkBytes + 100);
  await writeFile(path, content);
  const [first] = await field.feed([whole('f', content.length)]);
  await field.sender.flush(never);
  const { chunks } = readOf(first);
  const changed = Buffer.concat([content, noise(CUT.chunkBytes, 5)]);
  changed.fill(1, 3 * CUT.chunkBytes, 3 * CUT.chunkBytes + 1);
  changed.fill(0, 5 * CUT.chunkBytes, 6 * CUT.chunkBytes);
  await writeFile(path, changed);
  const [second] = await field.feed([whole('f', changed.length, chunks)]);
  await field.sender.flush(never);

  const { chunks: now, bytesNew } = readOf(second);
  expect(contentOf(field.blobs, now).equals(changed)).toBe(true);
  expect(now.filter((chunk) => chunks.includes(chunk))).toHaveLength(8);
  expect(now[5]).toEqual({ plain: CUT.chunkBytes });
  // The changed chunk, the one that was the last and is longer now, and what follows it.
  expect(bytesNew).toBe(2 * CUT.chunkBytes + 100);
});

test('a range of a file goes on from where the one before it ended', async () => {
  await using field = await sendingRig();
  const content = noise(6 * CUT.chunkBytes + 10);
  await writeFile(field.at('f'), content);
  const size = content.length;
  const half = 3 * CUT.chunkBytes;
  const [all] = await field.feed([whole('f', size)]);
  const known = readOf(all).chunks.slice(3);
  const results = await field.feed([
    { path: 'f', from: 0, to: half, size, known: [] },
    { path: 'f', from: half, to: size, size, known },
  ]);
  await field.sender.flush(never);
  const [one, other] = results.map((result) => readOf(result));
  expect(contentOf(field.blobs, one?.chunks ?? []).equals(content.subarray(0, half))).toBe(true);
  expect(other?.chunks).toEqual(known);
  expect(other).toMatchObject({ bytesNew: 0, packs: [] });
});

test('where nothing is new, nothing is sent and no number is used', async () => {
  await using field = await sendingRig();
  const content = noise(3 * CUT.chunkBytes);
  await writeFile(field.at('f'), content);
  const [first] = await field.feed([whole('f', content.length)]);
  await field.sender.flush(never);
  const calls = field.store.calls.length;
  await field.sender.feed([whole('f', content.length, readOf(first).chunks)], [], never);
  await field.sender.flush(never);
  expect(field.store.calls).toHaveLength(calls);
});

test('with compression a chunk is a frame where that saves enough', async () => {
  await using field = await sendingRig({}, { compress: true });
  const text = Buffer.from('all work and no play '.repeat(5000));
  const random = noise(100 * KIB);
  await writeFile(field.at('text'), text);
  await writeFile(field.at('random'), random);
  const results = await field.feed([whole('text', text.length), whole('random', random.length)]);
  await field.sender.flush(never);
  const [ofText, ofRandom] = results.map((result) => readOf(result).chunks.filter(isStored));
  expect(ofText?.every(({ stored, plain }) => stored < plain / 8)).toBe(true);
  expect(ofRandom?.every(({ stored, plain }) => stored === plain)).toBe(true);
  expect(contentOf(field.blobs, ofText ?? []).equals(text)).toBe(true);
  expect(contentOf(field.blobs, ofRandom ?? []).equals(random)).toBe(true);
  expect(ofText?.[0]?.id).toBe(chunkIdOf(text.subarray(0, CUT.chunkBytes), HASH));
});

test('pieces of metadata have packs of their own', async () => {
  await using field = await sendingRig();
  await writeFile(field.at('f'), noise(100));
  await field.feed([whole('f', 100)]);
  const pieces = [Buffer.from('[]'.repeat(1000)), noise(500 * KIB), noise(200 * KIB, 2), Buffer.from('x')];
  const chunks = await field.sender.putPieces(pieces, [100, 101, 102, 103], never);
  await field.sender.flush(never);
  for (const [index, chunk] of chunks.entries()) {
    expect(Buffer.compare(storedContent(field.blobs, chunk), pieces[index] ?? ('' as never))).toBe(0);
    expect(chunk.id).toBe(chunkIdOf(pieces[index] ?? Buffer.alloc(0), HASH));
  }
  expect(chunks[0]?.stored).toBeLessThan(100);
  const names = new Set(chunks.map(({ pack }) => pack));
  expect(names.size).toBe(2);
  for (const name of field.stored()) {
    const content = field.blobs.content(PREFIX + name) ?? Buffer.alloc(0);
    const kinds = new Set(decodePackEnd(content, content.length, name).map(({ kind }) => kind));
    expect([...kinds]).toEqual([names.has(name) ? 'meta' : 'data']);
  }
});

test('leftover numbers are not used by a later call', async () => {
  await using field = await sendingRig();
  await writeFile(field.at('f'), noise(100));
  await field.sender.feed([whole('f', 100)], [1, 2, 3], never);
  await field.sender.flush(never);
  await field.sender.feed([whole('f', 100)], [7, 8], never);
  await field.sender.flush(never);
  expect(field.stored().map((name) => name.slice(-8))).toEqual(['00000001', '00000007']);
});

test("what isn't full stays until it is flushed, or is dropped", async () => {
  await using field = await sendingRig();
  await writeFile(field.at('f'), noise(100 * KIB));
  const [first] = await field.feed([whole('f', 100 * KIB)]);
  expect(field.events).toEqual([]);
  expect(await field.sender.drop(never)).toEqual(readOf(first).packs);
  await field.sender.flush(never);
  expect(field.events).toEqual([]);
  expect(field.blobs.names()).toEqual([]);
});

test('a file that got shorter ends early, one that grew at the end of its range', async () => {
  await using field = await sendingRig();
  const content = noise(3 * CUT.chunkBytes);
  await writeFile(field.at('shorter'), content);
  await writeFile(field.at('longer'), content);
  await truncate(field.at('shorter'), CUT.chunkBytes + 5);
  const results = await field.feed([
    whole('shorter', content.length),
    whole('longer', CUT.chunkBytes + 7),
    { path: 'shorter', from: 2 * CUT.chunkBytes, to: content.length, size: content.length, known: [] },
  ]);
  await field.sender.flush(never);
  const [shorter, longer, beyond] = results.map((result) => readOf(result).chunks);
  expect(contentOf(field.blobs, shorter ?? []).equals(content.subarray(0, CUT.chunkBytes + 5))).toBe(true);
  expect(contentOf(field.blobs, longer ?? []).equals(content.subarray(0, CUT.chunkBytes + 7))).toBe(true);
  expect(beyond).toEqual([]);
});

test('a file that is written to while it is read says so by its stats', async () => {
  const blobs: string[] = [];
  await using field = await sendingRig({
    before({ name }) {
      if (blobs.push(name) === 1) appendFileSync(field.at('f'), 'x');
    },
  });
  const size = 20 * CUT.packBytes;
  await writeFile(field.at('f'), noise(size));
  const [result] = await field.feed([whole('f', size)]);
  const { before, after } = readOf(result);
  expect(after.size).toBe(before.size + 1);
  expect(await readFile(field.at('f'))).toHaveLength(size + 1);
});

test('many small files share few packs', async () => {
  await using field = await sendingRig();
  const items = Array.from({ length: 500 }, (_, index) => whole(`f${index}`, 1000));
  for (const [index, { path }] of items.entries()) await writeFile(field.at(path), noise(1000, index));
  const results = await field.feed(items);
  await field.sender.flush(never);
  expect(countCalls(field.store, 'create')).toBe(1);
  for (const [index, result] of results.entries())
    expect(contentOf(field.blobs, readOf(result).chunks).equals(noise(1000, index))).toBe(true);
});
