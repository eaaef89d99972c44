import { expect, test } from 'vitest';

import { createOnce } from '../../../src/checkpoint/store/create-once.ts';
import { type AccountTraits, type Subject, TYPE, fresh, signal } from './store-subject.ts';

const BAD_NAMES = [
  '',
  '/a',
  'a/',
  'a//b',
  '.',
  'a/../b',
  'a./b',
  'end.',
  'a\\b',
  'a\u0001',
  'a\u007f',
  '\ud800',
];

export function writeTests({ store, create, text }: Subject, traits: AccountTraits): void {
  const { isVersioned = false } = traits;
  const made = traits.losesAnswers === true ? ['created', 'taken'] : ['created'];

  test('a name is taken once, and what is there stays as it is', async () => {
    const name = fresh('once');
    const first = await create(name, 'first');
    expect(made).toContain(first.outcome);
    expect(first.isVersioned ?? isVersioned).toBe(isVersioned);
    expect(await create(name, 'second')).toEqual({ outcome: 'taken' });
    expect(await create(name, 'first')).toEqual({ outcome: 'taken' });
    expect(await text(name)).toBe('first');
  });

  test('of two that create at once, one does', async () => {
    const name = fresh('race');
    const both = await Promise.all([create(name, 'one'), create(name, 'other')]);
    const outcomes = both.map(({ outcome }) => outcome);
    expect(outcomes).toContain('taken');
    expect(made.some((outcome) => new Set<string>(outcomes).has(outcome))).toBe(true);
    expect(['one', 'other']).toContain(await text(name));
  });

  test('createOnce tells our own bytes from others', async () => {
    const name = fresh('twice');
    const put = async (content: string) =>
      (await createOnce(store(), name, Buffer.from(content), TYPE, signal)).outcome;
    expect(await put('content')).toMatch(/created|ours/);
    expect(await put('content')).toBe('ours');
    expect(await put('contenT')).toBe('other');
    expect(await put('cont')).toBe('other');
    expect(await put('content and more')).toBe('other');
  });
}

/** Of accounts that keep what they have. */
export function immutableTests({ store, create, text, names }: Subject): void {
  test('a report can be written once, and what is there stays', async () => {
    const name = fresh('immutable');
    await create(name, 'first');
    const again = store().replace(name, Buffer.from('second'), TYPE, signal);
    await expect(again).rejects.toMatchObject({ code: 'immutable' });
    await expect(store().remove(name, signal)).rejects.toMatchObject({ code: 'immutable' });
    expect(await store().remove(fresh('missing'), signal)).toEqual({ outcome: 'absent' });
    expect(await names(name)).toEqual([name]);
    expect(await text(name)).toBe('first');
  });
}

/** Of all others. */
export function mutableTests(
  { store, create, text, names }: Subject,
  { isSoft = false, losesAnswers = false }: AccountTraits,
): void {
  test('a report is written again and again', async () => {
    const name = fresh('report');
    for (const content of ['first', 'second']) {
      await store().replace(name, Buffer.from(content), { contentType: 'text/html' }, signal);
      expect(await text(name)).toBe(content);
    }
  });

  test('what is removed is gone, and may be absent', async () => {
    const name = fresh('remove');
    await create(name, 'x');
    const { outcome, isPermanent = !isSoft } = await store().remove(name, signal);
    expect(losesAnswers ? ['removed', 'absent'] : ['removed']).toContain(outcome);
    expect(isPermanent).toBe(!isSoft);
    expect(await store().remove(name, signal)).toEqual({ outcome: 'absent' });
    expect(await names(name)).toEqual([]);
    await expect(store().read(name, { bytesMax: 1 }, signal)).rejects.toMatchObject({ code: 'not-found' });
    await create(name, 'again');
    expect(await names(name)).toEqual([name]);
  });
}

export function nameTests({ store, create }: Subject): void {
  test.each(BAD_NAMES)('the name %j, which would be stored as another one, is refused', async (name) => {
    await expect(create(name, 'x')).rejects.toMatchObject({ code: 'refused' });
    await expect(store().read(name, { bytesMax: 1 }, signal)).rejects.toMatchObject({ code: 'refused' });
    await expect(store().remove(name, signal)).rejects.toMatchObject({ code: 'refused' });
  });
}
