import { describe, expect, test } from 'vitest';

import {
  entryName,
  idOfEntryName,
  isCheckpointId,
  newEpoch,
  newProcess,
  nextId,
  packName,
  parsePackName,
  setPrefix,
} from '../../../src/checkpoint/format/names.ts';

describe('the place of a set', () => {
  test.each([
    [{ prefix: '', key: 'vm-1', set: 'data' }, 'vm-1/sets/data/'],
    [{ prefix: 'team/ml', key: 'fleet/vm-1', set: 'a b' }, 'team/ml/fleet/vm-1/sets/a b/'],
    [{ prefix: '', key: 'Sets', set: 'sets' }, 'Sets/sets/sets/'],
    [{ prefix: '日本', key: '🙂', set: 's' }, '日本/🙂/sets/s/'],
  ])('%j is %s', (place, prefix) => {
    expect(setPrefix(place)).toBe(prefix);
  });

  test.each([
    { prefix: '', key: '', set: 's' },
    { prefix: '', key: 'a', set: '' },
    { prefix: '', key: 'a/../b', set: 's' },
    { prefix: '', key: '/a', set: 's' },
    { prefix: 'p/', key: 'a', set: 's' },
    { prefix: '', key: 'a\nb', set: 's' },
    { prefix: '', key: 'a%2Fb', set: 's' },
    { prefix: '', key: 'a\\b', set: 's' },
    { prefix: '', key: 'a\ud800', set: 's' },
    { prefix: '', key: 'a', set: 's/t' },
    { prefix: '', key: 'a', set: 's.' },
    { prefix: '', key: 'a'.repeat(600), set: 's' },
    { prefix: 'a'.repeat(500), key: 'b'.repeat(500), set: 's' },
    { prefix: '', key: 'a/'.repeat(60) + 'a', set: 's' },
    { prefix: '', key: 'fleet/sets', set: 's' },
    { prefix: '', key: 'reports/vm', set: 's' },
    { prefix: '', key: 'drill', set: 's' },
    { prefix: 'a/holds/b', key: 'c', set: 's' },
  ])('%j is refused', (place) => {
    expect(() => setPrefix(place)).toThrow(expect.objectContaining({ code: 'bad-key' }));
  });
});

test('a pack is named by epoch, process and number', () => {
  const name = packName('0123456789abcdef', '89abcdef', 0xff);
  expect(name).toBe('0123456789abcdef-89abcdef-000000ff');
  expect(parsePackName(name)).toEqual({ epoch: '0123456789abcdef', process: '89abcdef', seq: 255 });
  const fresh = packName(newEpoch(), newProcess(), 2 ** 32 - 1);
  expect(parsePackName(fresh)?.seq).toBe(2 ** 32 - 1);
});

test.each([
  '',
  'x',
  '0123456789abcdef-89abcdef-0ff',
  '0123456789ABCDEF-89abcdef-000000ff',
  '0123456789abcdef-89abcdef-000000ff\n',
])('%j names no pack', (name) => {
  expect(parsePackName(name)).toBeUndefined();
});

test('ids count up and sort by age', () => {
  expect(nextId(undefined)).toBe('00000001');
  expect(nextId('00000041')).toBe('00000042');
  expect(nextId('99999998')).toBe('99999999');
  expect(() => nextId('99999999')).toThrow(expect.objectContaining({ code: 'no-more-ids' }));
});

test('an entry is named by its id', () => {
  expect(entryName('00000042')).toBe('checkpoints/00000042.json');
  expect(idOfEntryName('checkpoints/00000042.json')).toBe('00000042');
  for (const other of [
    'checkpoints/42.json',
    'checkpoints/00000000.json',
    'checkpoints/00000042.json/x',
    'packs/00000042.json',
    'checkpoints/00000042',
  ]) {
    expect(idOfEntryName(other)).toBeUndefined();
  }
  expect(['00000001', '1', '000000011', '00000000', '0000000a'].map(isCheckpointId)).toEqual([
    true,
    false,
    false,
    false,
    false,
  ]);
});
