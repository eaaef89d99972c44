import { expect } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import type { SmallWrite, WriteOptions, Written } from '../../src/checkpoint/store.ts';
import { NEW, type Rule, type Subject, bytes, fresh, rule, signal } from './store-subject.ts';

const COMMON = { metadata: { of: 'all' }, contentType: 'application/octet-stream' };

function shown(outcomes: readonly (Written | string)[]): readonly string[] {
  return outcomes.map((outcome) => (typeof outcome === 'string' ? outcome : 'written'));
}

/** Small blobs that are put together. */
export function togetherRules(subject: Subject): readonly Rule[] {
  const { store, putNew, readText } = subject;

  const putTogether = async (
    writes: readonly SmallWrite[],
    common: Omit<WriteOptions, 'condition'> = COMMON,
    until = signal,
  ) => {
    const outcomes = await store().putTogether?.(writes, common, until);
    if (outcomes === undefined) throw new Error('it takes none together');
    return outcomes.map((outcome) => (outcome instanceof EvictdError ? outcome.code : outcome));
  };
  const small = (content: string, change: Partial<SmallWrite> = {}): SmallWrite => ({
    name: fresh('small'),
    body: bytes(content),
    condition: NEW,
    metadata: { own: content.slice(0, 3) },
    ...change,
  });

  return [
    rule('writes together', 'each of several has its own content and metadata', async () => {
      // A few bytes, and enough of them to be worth a thread of their own.
      for (const repeat of [1, 9000]) {
        const writes = ['one', 'two', 'six'].map((text) => small(text.repeat(repeat)));
        const outcomes = await putTogether(writes);
        for (const [index, { name, body }] of writes.entries()) {
          expect(await readText(name)).toBe(Buffer.from(body).toString());
          const own = ['one', 'two', 'six'][index];
          const head = await store().head(name, signal);
          expect(head?.metadata).toMatchObject({ own, of: 'all' });
          expect(outcomes[index]).toMatchObject({ etag: head?.etag });
        }
      }
    }),

    rule(
      ['writes together', 'conditions'],
      'of several those are refused that must not be written',
      async () => {
        const there = fresh('there');
        const { etag } = await putNew(there, 'before');
        const long = 'x'.repeat(9000);
        const writes = [
          small(long),
          small('over', { name: there }),
          small('late', { name: there, condition: { ifEtag: '"0x8D0000000000000"' } }),
          small('odd', { metadata: { 'a-b': 'x' } }),
          small(long),
        ];
        const outcomes = await putTogether(writes);
        expect(shown(outcomes)).toEqual(['written', 'conflict', 'conflict', 'refused', 'written']);
        expect(await readText(there)).toBe('before');
        const over = small(long, { name: there, condition: { ifEtag: etag } });
        expect(shown(await putTogether([over, small(long)]))).toEqual(['written', 'written']);
        expect(await readText(there)).toBe(long);
      },
    ),

    rule(
      ['writes together', 'snapshots'],
      'a snapshot that comes with one of several is of just that',
      async () => {
        const contents = ['1', '2', '3'].map((digit) => digit.repeat(9000));
        const writes = contents.map((content) => small(content));
        const outcomes = await putTogether(writes, { ...COMMON, snapshot: true });
        for (const [index, { name }] of writes.entries()) {
          const outcome = outcomes[index];
          if (outcome === undefined || typeof outcome === 'string') throw new Error(`${outcome}: ${name}`);
          const snapshot = outcome.snapshot ?? (await store().snapshot(name, outcome.etag, signal));
          expect(await readText(name, snapshot)).toBe(contents[index]);
        }
      },
    ),

    rule(
      ['writes together', 'aborts'],
      'at an abort each of several ends, and its memory is free',
      async () => {
        const writes = ['one', 'two'].map((text) => small(text.repeat(9000)));
        expect(await putTogether(writes, COMMON, AbortSignal.abort())).toEqual(['aborted', 'aborted']);
        const controller = new AbortController();
        const under = putTogether(writes, COMMON, controller.signal);
        controller.abort(new Error('changed my mind'));
        expect(await under).toEqual(['aborted', 'aborted']);
        for (const { name } of writes) expect(await store().head(name, signal)).toBeUndefined();
      },
    ),
  ];
}
