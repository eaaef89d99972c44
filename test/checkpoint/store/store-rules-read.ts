import { getEventListeners } from 'node:events';

import { expect, test } from 'vitest';

import { type Subject, TYPE, fresh, signal } from './store-subject.ts';

const ODD_NAMES = [
  'a b',
  '50%',
  '%41',
  '%2e%2e',
  'a#b?c&d=e',
  "+~!*'()",
  '"<>|:;@=$,^`{}[]',
  'ü',
  'e\u0301',
  '日本',
  '🙂',
  '.hidden',
  'a..b',
  '007',
  '1e3',
  'true',
];

export function contentTests({ store, create, text, names }: Subject): void {
  test('what was created comes back, and an empty blob comes back empty', async () => {
    for (const content of ['hello blob', '']) {
      const name = fresh('put');
      expect(await create(name, content)).toHaveProperty('outcome');
      expect(await text(name)).toBe(content);
    }
  });

  test('a large blob comes back whole and in parts', async () => {
    const name = fresh('large');
    const body = Buffer.from(
      Array.from({ length: 1_500_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff),
    );
    await store().create(name, body, TYPE, signal);
    expect(body.equals(await store().read(name, { bytesMax: body.length }, signal))).toBe(true);
    const range = { offset: 600_001, count: 700_003 };
    const part = await store().read(name, { bytesMax: range.count, range }, signal);
    expect(body.subarray(600_001, 1_300_004).equals(part)).toBe(true);
  });

  test('a range is read alone; one that the blob is too short for is refused', async () => {
    const name = fresh('range');
    await create(name, 'hello blob');
    const read = async (offset: number, count: number) =>
      Buffer.from(await store().read(name, { bytesMax: 4, range: { offset, count } }, signal)).toString();
    expect(await read(6, 4)).toBe('blob');
    expect(await read(0, 1)).toBe('h');
    expect(await read(3, 0)).toBe('');
    await expect(read(8, 4)).rejects.toMatchObject({ code: 'bad-answer' });
    await expect(read(20, 4)).rejects.toMatchObject({ code: 'bad-answer' });
    await expect(read(0, 5)).rejects.toMatchObject({ code: 'too-large' });
  });

  test('a blob larger than bytesMax is refused, one of just that size is not', async () => {
    const name = fresh('limit');
    await create(name, 'x'.repeat(100));
    await expect(store().read(name, { bytesMax: 99 }, signal)).rejects.toMatchObject({ code: 'too-large' });
    expect(await store().read(name, { bytesMax: 100 }, signal)).toHaveLength(100);
  });

  test('a missing blob is not-found', async () => {
    const name = fresh('missing');
    const missing = { code: 'not-found' };
    await expect(store().read(name, { bytesMax: 1 }, signal)).rejects.toMatchObject(missing);
    const range = { offset: 0, count: 1 };
    await expect(store().read(name, { bytesMax: 1, range }, signal)).rejects.toMatchObject(missing);
  });

  test('the memory of what was sent is the caller\u2019s again', async () => {
    const name = fresh('memory');
    const body = Buffer.from('first');
    await store().create(name, body, TYPE, signal);
    body.fill('x');
    expect(await text(name)).toBe('first');
  });

  test('names are kept as they are, in listings too', async () => {
    const root = fresh('odd');
    for (const odd of ODD_NAMES) {
      const name = `${root}/${odd}/${odd}`;
      await create(name, odd);
      expect(await text(name)).toBe(odd);
      expect(await names(name)).toEqual([name]);
    }
    expect(new Set(await names(`${root}/`))).toEqual(
      new Set(ODD_NAMES.map((odd) => `${root}/${odd}/${odd}`)),
    );
  });
}

export function listTests({ store, create, names }: Subject): void {
  test('what is below a prefix is listed in order, with lengths and times, page by page', async () => {
    const root = fresh('list');
    const all = ['a/1', 'a/2', 'a/3', 'b', 'c/d/e'].map((name) => `${root}/${name}`);
    for (const name of all.toReversed()) await create(name, 'x'.repeat(name.length));
    await create(`${root}0`, 'beside');
    expect(await names(`${root}/`)).toEqual(all);
    expect(await names(`${root}/a/`)).toEqual(all.slice(0, 3));
    expect(await names(`${root}/none`)).toEqual([]);
    const first = await store().list(`${root}/`, { max: 2 }, signal);
    expect(first.items.map(({ name }) => name)).toEqual(all.slice(0, 2));
    const more = await store().list(`${root}/`, { max: 2, from: first.next ?? '' }, signal);
    expect(more.items.map(({ name }) => name)).toEqual(all.slice(2, 4));
    const last = await store().list(`${root}/`, { max: 2, from: more.next ?? '' }, signal);
    expect(last.items.map(({ name }) => name)).toEqual(all.slice(4));
    expect(last.next).toBeUndefined();
    for (const { name, bytes, modifiedAt, isArchived } of first.items) {
      expect({ bytes, isArchived }).toEqual({ bytes: name.length, isArchived: false });
      expect(Math.abs(modifiedAt - Date.now())).toBeLessThan(3_600_000);
    }
    expect(Math.abs(first.serverMs - Date.now())).toBeLessThan(3_600_000);
  });

  test('folders right below a prefix are listed', async () => {
    const root = fresh('folders');
    for (const name of ['a/1', 'a/2', 'a b/c/d', 'é+/x', 'z']) await create(`${root}/${name}`, 'x');
    const page = await store().folders(`${root}/`, {}, signal);
    expect(new Set(page.names)).toEqual(new Set(['a b/', 'a/', 'é+/'].map((name) => `${root}/${name}`)));
    expect(page.next).toBeUndefined();
    expect((await store().folders(`${root}/none/`, {}, signal)).names).toEqual([]);
  });

  test('the container is there', async () => {
    await expect(store().ensureContainer(signal)).resolves.toBeUndefined();
  });
}

export function abortTests({ store, names }: Subject): void {
  const callsOn = (name: string, aborted: AbortSignal) => [
    store().list(name, {}, aborted),
    store().folders(name, {}, aborted),
    store().read(name, { bytesMax: 1 }, aborted),
    store().create(name, Buffer.from('x'), TYPE, aborted),
    store().replace(name, Buffer.from('x'), TYPE, aborted),
    store().remove(name, aborted),
    store().ensureContainer(aborted),
  ];

  test('every call on an aborted signal rejects with aborted, and does nothing', async () => {
    const name = fresh('aborted');
    for (const outcome of await Promise.allSettled(callsOn(name, AbortSignal.abort())))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'aborted' } });
    expect(await names(name)).toEqual([]);
  });

  test('a call in the middle is aborted at once, and nothing goes on listening', async () => {
    const controller = new AbortController();
    const calls = callsOn(fresh('aborted'), controller.signal);
    controller.abort(new Error('changed my mind'));
    for (const outcome of await Promise.allSettled(calls))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'aborted' } });
    const ended = new AbortController();
    await store().create(fresh('ended'), Buffer.from('x'), TYPE, ended.signal);
    await store().list(fresh('ended'), {}, ended.signal);
    expect(getEventListeners(ended.signal, 'abort')).toEqual([]);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });
}
