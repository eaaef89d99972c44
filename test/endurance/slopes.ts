import type { Sample } from './life.ts';

export type Quantity = Exclude<keyof Sample, 'ms' | 'notices'>;

export interface Slope {
  readonly quantity: Quantity;
  readonly last: number;
  readonly perHour: number;
  readonly perThousandNotices: number;
  /** From the third quarter to the last one, each as its `Limit` counts it. */
  readonly growth: number;
  /** Undefined: too few notices to tell it from what comes and goes. */
  readonly allowed: number | undefined;
  readonly isFlat: boolean;
}

interface Limit {
  /** `least`: what is in use for a moment only doesn't count. `median`: nor what was given back for a moment only. */
  readonly of: 'least' | 'median';
  /** Comes and goes, however long it lives. */
  readonly noise: number;
  readonly perNotice: number;
  readonly noticesMin: number;
}

const KIB = 1024;
/** Something that is left behind by each hundredth notice would be seen, and connections and pauses come and go. */
const COUNT: Limit = { of: 'least', noise: 6, perNotice: 0.01, noticesMin: 0 };
/** An event's id alone has 36 bytes. */
const FILE: Limit = { of: 'least', noise: 256, perNotice: 8, noticesMin: 0 };
/**
 * The smallest object that a notice could leave behind has some 50 bytes, and it would leave more than one; in the first
 * thousands of notices what rarely runs runs for the first time. What the process has of memory goes up and down by 10 MiB with
 * the moment at which V8 gives pages back; above that, 8 MiB in a year with a notice each hour are fragments, not objects.
 */
const HEAP: Limit = { of: 'least', noise: 384 * KIB, perNotice: 100, noticesMin: 500 };
/** Functions are compiled again and again, as V8 learns what they are called with. */
const CODE: Limit = { of: 'median', noise: 1024 * KIB, perNotice: 100, noticesMin: 500 };
const MEMORY: Limit = { of: 'median', noise: 12 * 1024 * KIB, perNotice: KIB, noticesMin: 500 };

const LIMITS: Readonly<Record<Quantity, Limit>> = {
  rss: MEMORY,
  anonymous: MEMORY,
  heap: HEAP,
  code: CODE,
  external: HEAP,
  descriptors: COUNT,
  timers: COUNT,
  resources: COUNT,
  threads: COUNT,
  // What retention removes, which gives way to drains.
  blobs: { ...COUNT, noise: 512 },
  packs: { ...COUNT, noise: 512 },
  storedBytes: { ...FILE, noise: 32 * 1024 * KIB, perNotice: KIB },
  journal: FILE,
  // The index is a log, written anew once it has a thousand lines more than three times what it holds.
  stateFolder: { ...FILE, noise: 512 * KIB },
};

const REDUCED: Readonly<Record<Limit['of'], (values: readonly number[]) => number>> = {
  least: (values) => Math.min(...values),
  median: (values) =>
    values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN,
};

/** Straight lines through the second half of the samples: in the first one it still warms up. */
export function slopesOf(samples: readonly Sample[]): Slope[] {
  const half = samples.slice(Math.floor(samples.length / 2));
  const quarter = Math.ceil(half.length / 2);
  const notices = (half[quarter]?.notices ?? 0) - (half[0]?.notices ?? 0);
  // An object's own keys are those of its type here.
  return (Object.keys(LIMITS) as Quantity[]).map((quantity) => {
    const { of, noise, perNotice, noticesMin } = LIMITS[quantity];
    const values = half.map((sample) => sample[quantity]);
    const growth = REDUCED[of](values.slice(quarter)) - REDUCED[of](values.slice(0, quarter));
    const allowed = notices < noticesMin ? undefined : Math.max(noise, perNotice * notices);
    return {
      quantity,
      last: values.at(-1) ?? Number.NaN,
      perHour: slope(half.map((sample) => [sample.ms / 3_600_000, sample[quantity]])),
      perThousandNotices: slope(half.map((sample) => [sample.notices / 1000, sample[quantity]])),
      growth,
      allowed,
      isFlat: allowed === undefined || growth <= allowed,
    };
  });
}

/** Least squares. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (of: 0 | 1) => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  const over = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return over / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}
