import { expect, test } from 'vitest';

import type { Sample } from './life.ts';
import { type Quantity, slopesOf } from './slopes.ts';

const FLAT: Omit<Sample, 'ms' | 'notices'> = {
  rss: 160e6,
  anonymous: 90e6,
  heap: 20e6,
  code: 5e6,
  external: 12e6,
  timers: 8,
  resources: 4,
  threads: 12,
  descriptors: 35,
  blobs: 20,
  packs: 14,
  storedBytes: 20e6,
  journal: 130,
  stateFolder: 29_000,
};

/** 10,000 notices in an hour; `grow` says by how much a quantity is larger after so many of them. */
function samples(quantity: Quantity, grow: (notices: number) => number): Sample[] {
  return Array.from({ length: 101 }, (_, index) => {
    const notices = index * 100;
    return { ...FLAT, ms: notices * 360, notices, [quantity]: FLAT[quantity] + grow(notices) };
  });
}

function grown(quantity: Quantity, grow: (notices: number) => number): Quantity[] {
  const slopes = slopesOf(samples(quantity, grow));
  return slopes.filter(({ isFlat }) => !isFlat).map((slope) => slope.quantity);
}

test.each<[Quantity, number]>([
  ['descriptors', 0.02],
  ['timers', 0.02],
  ['threads', 0.02],
  ['packs', 0.4],
  ['storedBytes', 20_000],
  ['journal', 36],
  ['heap', 200],
  ['anonymous', 8192],
])('%s that grow by %d with each notice are found', (quantity, each) => {
  expect(grown(quantity, (notices) => each * notices)).toEqual([quantity]);
});

test('what warms up, and what comes and goes, does not grow', () => {
  expect(grown('heap', (notices) => Math.min(notices, 5000) * 500)).toEqual([]);
  expect(grown('descriptors', (notices) => (notices % 300 === 0 ? 20 : 0))).toEqual([]);
  // Pages were given back once, a long time ago.
  expect(grown('rss', (notices) => (notices === 6000 ? -20e6 : 0))).toEqual([]);
});

test('slopes are those of the second half', () => {
  const heap = slopesOf(samples('heap', (notices) => Math.max(0, notices - 5000) * 10)).find(
    ({ quantity }) => quantity === 'heap',
  );
  expect(heap?.perThousandNotices).toBeCloseTo(10_000);
  expect(heap?.perHour).toBeCloseTo(100_000);
});
