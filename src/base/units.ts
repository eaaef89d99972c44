import { EvictdError } from './errors.ts';

const DURATIONS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const SIZES = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 } as const;

/** `500ms`, `8s`, `1.5m` → milliseconds. Throws `bad-duration`. */
export function parseDuration(text: string): number {
  return parseWithUnit(text, DURATIONS, 'duration', '500ms, 8s, 5m, 1h');
}

/** `64KiB`, `8MiB`, `1GiB` → bytes. Throws `bad-size`. */
export function parseSize(text: string): number {
  return Math.round(parseWithUnit(text, SIZES, 'size', '64KiB, 8MiB, 1GiB'));
}

/** As people write them who know them from elsewhere. */
const OTHER_UNITS = new Map(
  Object.entries({
    ms: ['msec', 'millisecond'],
    s: ['sec', 'second'],
    m: ['min', 'minute'],
    h: ['hr', 'hour'],
    d: ['day'],
    B: ['byte'],
    KiB: ['k', 'kb'],
    MiB: ['m', 'mb'],
    GiB: ['g', 'gb'],
    TiB: ['t', 'tb'],
  }).flatMap(([unit, words]) => words.map((word) => [word, unit] as const)),
);

/** `10 minutes` → `10m`, `5GB` → `5GiB`; undefined where nothing like that was meant. */
function nearestQuantity(text: string, units: Readonly<Record<string, number>>): string | undefined {
  const [, number, word = ''] = /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*$/.exec(text) ?? [];
  const name = word.toLowerCase();
  const known = Object.keys(units).find((unit) => unit.toLowerCase() === name);
  const unit = known ?? OTHER_UNITS.get(name) ?? OTHER_UNITS.get(name.replace(/s$/, ''));
  return number === undefined || unit === undefined || !Object.hasOwn(units, unit)
    ? undefined
    : `${number}${unit}`;
}

function parseWithUnit(
  text: string,
  units: Readonly<Record<string, number>>,
  what: string,
  examples: string,
): number {
  const match = /^(\d+(?:\.\d+)?)([A-Za-z]+)$/.exec(text);
  const factor = match?.[2] !== undefined && Object.hasOwn(units, match[2]) ? units[match[2]] : undefined;
  if (match === null || factor === undefined) {
    const near = nearestQuantity(text, units);
    const hint = near === undefined ? '' : `; did you mean ${near}?`;
    throw new EvictdError(`bad-${what}`, `${JSON.stringify(text)} is not a ${what}${hint}`, {
      remedy: `write a number and a unit (${Object.keys(units).join(', ')}), for example ${examples}`,
    });
  }
  return Number(match[1]) * factor;
}

/** Milliseconds as people read them: `340 ms`, `8.2 s`, `5 min 20 s`, `2 h 5 min`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1 file`, `2 files`. */
export function formatCount(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

/** Bytes as people read them: `512 B`, `1.5 MiB`. */
export function formatSize(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024) return unit === 'B' ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}
