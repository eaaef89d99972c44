import { expect, test } from 'vitest';

import { nearest } from '../../src/config/nearest.ts';

test.each([
  ['pollIntervall', 'pollInterval'],
  ['POLLINTERVAL', 'pollInterval'],
  ['requesttimeout', 'requestTimeout'],
  ['timeout', undefined],
  ['x', undefined],
  ['x'.repeat(1000), undefined],
])('%s is taken for %s', (word, expected) => {
  expect(nearest(word, ['endpoint', 'pollInterval', 'requestTimeout'])).toBe(expected);
});
