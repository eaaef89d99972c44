import { expect, test } from 'vitest';

import { readableLine } from '../../src/observe/readable-line.ts';

test.each([
  [
    '{"level":"warn","time":"2026-01-01T00:17:00.390Z","hook":"stop","attempt":1,"detail":"it said \\"no\\"","names":["a"],"msg":"hook ended"}',
    '00:17:00.390 warn  hook ended  hook=stop  attempt=1  detail="it said \\"no\\""  names=["a"]',
  ],
  ['{"level":"info"}', '{"level":"info"}'],
  ['no JSON', 'no JSON'],
])('%s', (line, readable) => {
  expect(readableLine(line)).toBe(readable);
});
