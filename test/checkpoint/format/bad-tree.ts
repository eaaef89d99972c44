import { expect } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';

/** It is `bad-tree`, and says of which piece. */
export function expectBadTree(error: unknown): void {
  if (!(error instanceof EvictdError)) throw error;
  expect(error.code).toBe('bad-tree');
  expect(error.message).toMatch(/at byte \d+ of packs\/[0-9a-f]{16}-[0-9a-f]{8}-[0-9a-f]{8} /);
  expect(error.message.length).toBeLessThan(1200);
}
