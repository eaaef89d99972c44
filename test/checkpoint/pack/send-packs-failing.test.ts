import { writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import { storeError } from '../../support/memory-blobs.ts';
import { contentOf, CUT, never, noise, readOf, sendingRig, whole } from './pack-rig.ts';

test('a pack that fails makes calls reject until what is left is dropped; what was stored stays told', async () => {
  let isDown = false;
  await using field = await sendingRig({
    before: ({ operation }) => {
      if (isDown && operation === 'create') throw storeError('unavailable', 'the service is down');
    },
  });
  await writeFile(field.at('f'), noise(2 * CUT.packBytes));
  await field.feed([whole('f', CUT.packBytes)]);
  await field.sender.flush(never);
  expect(field.stored()).toHaveLength(1);
  isDown = true;
  await field.feed([whole('f', CUT.packBytes)]);
  await expect(field.sender.flush(never)).rejects.toMatchObject({ code: 'unavailable' });
  await expect(field.feed([whole('f', 10)])).rejects.toMatchObject({ code: 'unavailable' });
  await expect(field.sender.putPieces([Buffer.from('x')], [9], never)).rejects.toMatchObject({
    code: 'unavailable',
  });
  isDown = false;
  expect(await field.sender.drop(never)).toEqual([]);
  const [again] = await field.feed([whole('f', CUT.packBytes)]);
  await field.sender.flush(never);
  expect(field.stored()).toEqual([field.stored()[0], ...readOf(again).packs]);
  expect(field.events.filter(({ kind }) => kind === 'failed')).toHaveLength(1);
});

test('a lost answer is told as stored, another blob of that name as taken', async () => {
  let lost = 1;
  await using field = await sendingRig({
    after: ({ operation }) => {
      if (operation === 'create' && lost-- > 0) throw storeError('network', 'the connection broke');
    },
  });
  await writeFile(field.at('f'), noise(10));
  await field.feed([whole('f', 10)]);
  await expect(field.sender.flush(never)).rejects.toMatchObject({ code: 'network' });
  await field.sender.drop(never);
  // The same number again, as nobody would do: once with the same bytes, once with others.
  await field.sender.feed([whole('f', 10)], [1], never);
  await field.sender.flush(never);
  expect(field.stored()).toHaveLength(1);
  await field.sender.feed([whole('f', 9)], [1], never);
  await expect(field.sender.flush(never)).rejects.toMatchObject({ code: 'pack-taken' });
});

test("a few packs are under way at a time, and their bytes don't change before they have ended", async () => {
  let underWay = 0;
  let most = 0;
  const waiting: (() => void)[] = [];
  const { promise: isFull, resolve: full } = Promise.withResolvers<void>();
  await using field = await sendingRig({
    async before() {
      most = Math.max(most, ++underWay);
      if (underWay === 3) full();
      await new Promise<void>((resolve) => waiting.push(resolve));
      underWay--;
    },
  });
  const content = noise(20 * CUT.packBytes);
  await writeFile(field.at('f'), content);
  let isDone = false;
  const feeding = field.feed([whole('f', content.length)]).finally(() => (isDone = true));
  await isFull;
  expect(isDone).toBe(false);
  const flowing = setInterval(() => waiting.shift()?.(), 1);
  const [result] = await feeding;
  await field.sender.flush(never);
  clearInterval(flowing);
  expect(most).toBe(3);
  expect(contentOf(field.blobs, readOf(result).chunks).equals(content)).toBe(true);
});

test('an abort ends a feed at once, also while it waits for a place; what is under way goes on', async () => {
  const { promise: isStarted, resolve: started } = Promise.withResolvers<void>();
  const { promise: goesOn, resolve: goOn } = Promise.withResolvers<void>();
  let calls = 0;
  await using field = await sendingRig({
    async before() {
      if (++calls === 3) started();
      await goesOn;
    },
  });
  await writeFile(field.at('f'), noise(20 * CUT.packBytes));
  const controller = new AbortController();
  const feeding = field.feed([whole('f', 20 * CUT.packBytes)], controller.signal);
  await isStarted;
  controller.abort(new EvictdError('aborted', 'no time is left'));
  await expect(feeding).rejects.toMatchObject({ code: 'aborted', message: 'no time is left' });
  await expect(field.sender.flush(AbortSignal.abort(new EvictdError('aborted', 'x')))).rejects.toThrow('x');
  goOn();
  await field.sender.drop(never);
  expect(field.stored()).toHaveLength(3);
});

test('closing aborts what is under way, and tells of it', async () => {
  const { promise: isStarted, resolve: started } = Promise.withResolvers<void>();
  const { promise: goesOn, resolve: goOn } = Promise.withResolvers<void>();
  await using field = await sendingRig({
    async before() {
      started();
      await goesOn;
    },
  });
  await writeFile(field.at('f'), noise(2 * CUT.packBytes));
  await field.feed([whole('f', 2 * CUT.packBytes)]);
  const flushing = field.sender.flush(never).catch((error: unknown) => error);
  await isStarted;
  const closing = field.sender.close();
  goOn();
  await closing;
  expect(await flushing).toMatchObject({ code: 'aborted' });
  expect(field.events.map(({ kind }) => kind).sort()).toEqual(['began', 'began', 'failed', 'failed']);
  await expect(field.feed([])).rejects.toMatchObject({ code: 'aborted' });
});
