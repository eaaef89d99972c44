import { expect, test } from 'vitest';

import type { Clock } from '../../src/base/clock.ts';
import { createProgressBar, progressLine } from '../../src/cli/progress-bar.ts';
import { capture } from './support.ts';

const GIB = 1024 ** 3;
const progress = (bytes: number, bytesTotal = 8 * GIB) => ({ bytes, bytesTotal });

test.each([
  [0, undefined, 'job [....................]   0%  0 B of 8.0 GiB'],
  [4 * GIB, 0.5 * GIB, 'job [##########..........]  50%  4.0 GiB of 8.0 GiB  512.0 MiB/s  8.0 s left'],
  [8 * GIB, GIB, 'job [####################] 100%  8.0 GiB of 8.0 GiB  1.0 GiB/s  0 ms left'],
  // A kept file that turns out to differ is counted twice for a moment.
  [9 * GIB, undefined, 'job [####################] 100%  9.0 GiB of 8.0 GiB'],
])('%d bytes at %s a second read as %j', (bytes, rate, line) => {
  expect(progressLine('job', progress(bytes), rate)).toBe(line);
});

test('an empty checkpoint is done from the start', () => {
  expect(progressLine('job', progress(0, 0), undefined)).toContain('100%');
});

test('the bar is drawn five times a second at most, with the rate of the last seconds, and is gone at the end', () => {
  let now = 1000;
  const clock: Clock = {
    monotonicMs: () => now,
    wallMs: () => 0,
    timer: () => ({ [Symbol.dispose]: () => undefined }),
  };
  const out = capture();
  const bar = createProgressBar('job', out, clock);
  // The first second is slow, what follows is not.
  for (let step = 0; step <= 1000; step++) {
    bar.show(progress(step < 100 ? 0 : (step - 100) * 1024 ** 2));
    now += 10;
  }
  const draws = out.text().split('\r').slice(1);
  expect(draws.length).toBe(51);
  expect(draws.at(-1)).toContain('100.0 MiB/s');
  bar[Symbol.dispose]();
  expect(out.text().endsWith('\r\u001B[K')).toBe(true);
});

test('a bar that was never shown writes nothing', () => {
  const out = capture();
  const clock: Clock = {
    monotonicMs: () => 0,
    wallMs: () => 0,
    timer: () => ({ [Symbol.dispose]: () => undefined }),
  };
  createProgressBar('job', out, clock)[Symbol.dispose]();
  expect(out.text()).toBe('');
});
