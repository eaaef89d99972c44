import { execFileSync } from 'node:child_process';
import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';

import { expect, test } from 'vitest';

const GARBAGE = fileURLToPath(new URL('../../src/base/garbage.ts', import.meta.url));
const MIB = 1024 ** 2;

// Of each 64 KiB of the allocator's memory one buffer stays: nothing lies free at its end.
const PROGRAM = `
  import { readFileSync } from 'node:fs';
  import { collectGarbage } from ${JSON.stringify(GARBAGE)};
  const anonymous = () => Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]) * 1024;
  let buffers = Array.from({ length: 16_384 }, () => new Uint8Array(4096).fill(1));
  buffers = buffers.filter((_, at) => at % 16 === 0);
  globalThis.gc?.();
  const before = anonymous();
  collectGarbage();
  console.log(JSON.stringify({ before, after: anonymous(), kept: buffers.length }));
`;

function measured(...flags: string[]): { before: number; after: number } {
  const args = [...flags, '--disable-warning=ExperimentalWarning', '--input-type=module', '-e', PROGRAM];
  // What the program above prints.
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as {
    before: number;
    after: number;
  };
}

test.skipIf(!isBuiltin('node:ffi'))('memory that lies free between what is used is given back', () => {
  const { before, after } = measured('--expose-gc');
  expect(before - after).toBeGreaterThan(32 * MIB);
});

test('where nobody asked for it, nothing is stopped for it', () => {
  const { before, after } = measured();
  expect(before - after).toBeLessThan(MIB);
});
