import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { expect, test } from 'vitest';

const ENDURANCE = fileURLToPath(new URL('endurance.ts', import.meta.url));
const LIMIT_MS = 180_000;

function endure(...args: readonly string[]): Promise<{ readonly ok: boolean; readonly output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [ENDURANCE, ...args], { timeout: LIMIT_MS }, (error, stdout, stderr) =>
      resolve({ ok: error === null, output: stdout + stderr }),
    );
  });
}

test.concurrent.each([
  { name: 'nothing is left behind by a notice', args: [], grows: [] },
  { name: 'what is left behind is found', args: ['--leak'], grows: ['descriptors', 'timers'] },
])(
  '$name',
  async ({ args, grows }) => {
    const { ok, output } = await endure('--notices', '24', ...args);
    // The slopes.
    console.log(output);
    const found = [...output.matchAll(/^it grows: (.*)$/gm)].map(([, what]) => what);
    expect(found).toEqual(grows);
    expect(ok).toBe(grows.length === 0);
  },
  LIMIT_MS,
);
