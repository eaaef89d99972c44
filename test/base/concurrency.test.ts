import { getEventListeners } from 'node:events';

import { describe, expect, test } from 'vitest';

import { createGate, createGroup, forEachLimit } from '../../src/base/concurrency.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('forEachLimit', () => {
  test('calls for every item, never more than the limit at once', async () => {
    const done: number[] = [];
    let running = 0;
    let most = 0;
    await forEachLimit([1, 2, 3, 4, 5, 6, 7], 3, new AbortController().signal, async (item) => {
      most = Math.max(most, ++running);
      await turn();
      running--;
      done.push(item);
    });
    expect(done.toSorted((one, other) => one - other)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(most).toBe(3);
  });

  test('the first error stops the rest, and is thrown after all calls have settled', async () => {
    const started: number[] = [];
    let settled = 0;
    const work = forEachLimit([1, 2, 3, 4, 5], 2, new AbortController().signal, async (item, signal) => {
      started.push(item);
      try {
        if (item === 1) throw new Error('first');
        await turn();
        expect(signal.aborted).toBe(true);
        throw new Error('later');
      } finally {
        settled++;
      }
    });
    await expect(work).rejects.toThrow('first');
    expect(started).toEqual([1, 2]);
    expect(settled).toBe(2);
  });

  test('an abort is thrown with its reason, and no listener stays behind', async () => {
    const abort = new AbortController();
    const work = forEachLimit([1, 2, 3], 1, abort.signal, async () => {
      abort.abort(new Error('enough'));
      await turn();
    });
    await expect(work).rejects.toThrow('enough');
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
    const ended = new AbortController();
    await forEachLimit([1], 1, ended.signal, turn);
    expect(getEventListeners(ended.signal, 'abort')).toEqual([]);
  });

  test('nothing is called on a signal that is aborted already', async () => {
    const items: number[] = [];
    const work = forEachLimit([1], 1, AbortSignal.abort(new Error('gone')), async (item) => {
      items.push(item);
    });
    await expect(work).rejects.toThrow('gone');
    expect(items).toEqual([]);
  });
});

test('a group waits for tasks that were started by tasks', async () => {
  const group = createGroup(new AbortController().signal);
  let inner = false;
  group.run(async () => {
    await turn();
    group.run(async () => {
      await turn();
      inner = true;
    });
  });
  await group.settled();
  expect(inner).toBe(true);
});

describe('a gate', () => {
  const { signal } = new AbortController();

  test('admits in order, up to its places and its weight', async () => {
    const gate = createGate({ placesMax: 3, weightMax: 10 });
    const admitted: string[] = [];
    const enter = (name: string, weight: number) =>
      gate.enter(weight, signal).then((place) => {
        admitted.push(name);
        return place;
      });
    const first = await enter('a', 6);
    const heavy = enter('b', 5);
    const light = enter('c', 1);
    await turn();
    // The light one would fit, but it came later: else the heavy one could wait for ever.
    expect(admitted).toEqual(['a']);
    first[Symbol.dispose]();
    const places = await Promise.all([heavy, light]);
    const third = await enter('d', 0);
    const fourth = enter('e', 0);
    await turn();
    expect(admitted).toEqual(['a', 'b', 'c', 'd']);
    third[Symbol.dispose]();
    await fourth;
    for (const place of places) place[Symbol.dispose]();
  });

  test('admits the lowest rank first of those who wait, and in order within a rank', async () => {
    const gate = createGate({ placesMax: 1, weightMax: 10 });
    const admitted: string[] = [];
    const enter = async (name: string, rank?: number) => {
      using _place = await gate.enter(1, signal, rank);
      admitted.push(name);
      await turn();
    };
    const all = [
      enter('first', 9),
      enter('staging', 5),
      enter('plain'),
      enter('also staging', 5),
      enter('urgent', -1),
    ];
    await Promise.all(all);
    expect(admitted).toEqual(['first', 'urgent', 'plain', 'staging', 'also staging']);
  });

  test('lets something too heavy in alone', async () => {
    const gate = createGate({ placesMax: 3, weightMax: 10 });
    const place = await gate.enter(1000, signal);
    let second = false;
    const waiting = gate.enter(1, signal).then(() => {
      second = true;
    });
    await turn();
    expect(second).toBe(false);
    place[Symbol.dispose]();
    await waiting;
  });

  test('gives a place back once, however often it is disposed', async () => {
    const gate = createGate({ placesMax: 1, weightMax: 1 });
    const place = await gate.enter(1, signal);
    place[Symbol.dispose]();
    place[Symbol.dispose]();
    await gate.enter(1, signal);
    const late = new AbortController();
    const third = gate.enter(1, late.signal);
    late.abort(new Error('gave up'));
    await expect(third).rejects.toThrow('gave up');
  });

  test('one who gives up waiting makes room for those behind and leaves no listener', async () => {
    const gate = createGate({ placesMax: 2, weightMax: 10 });
    await gate.enter(5, signal);
    const abort = new AbortController();
    const heavy = gate.enter(9, abort.signal);
    const light = gate.enter(1, signal);
    abort.abort(new Error('gave up'));
    await expect(heavy).rejects.toThrow('gave up');
    await light;
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  });
});
