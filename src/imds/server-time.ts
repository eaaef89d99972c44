import type { WallMs } from '../base/clock.ts';

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const RFC1123 =
  /^(?:[a-z]{3,9},?\s+)?(\d{1,2})\s+([a-z]{3})\s+(\d{4})\s+(\d{2}):(\d{2}):(\d{2})\s+(?:GMT|UTC)$/i;
const ISO8601 = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?(?:Z|([+-])(\d{2}):?(\d{2}))?$/i;

/**
 * A time as the service writes it, in epoch ms; undefined for anything that isn't one.
 * RFC 1123 is documented (learn.microsoft.com/azure/virtual-machines/linux/scheduled-events); ISO 8601 is what
 * Microsoft's own mock server sends. The weekday is redundant and not looked at: a wrong one changes nothing.
 */
export function parseServerTime(value: unknown): WallMs | undefined {
  if (typeof value !== 'string') return undefined;
  const text = value.trim();
  const rfc = RFC1123.exec(text);
  if (rfc !== null) {
    const month = MONTHS.indexOf(rfc[2]?.toLowerCase() ?? '') + 1;
    return instant([rfc[3], month, rfc[1], rfc[4], rfc[5], rfc[6]].map(Number));
  }
  const iso = ISO8601.exec(text);
  if (iso === null) return undefined;
  const local = instant(iso.slice(1, 7).map(Number));
  // Without a zone it is UTC: the service knows no other.
  const offsetMinutes = (iso[7] === '-' ? -1 : 1) * (Number(iso[8] ?? 0) * 60 + Number(iso[9] ?? 0));
  return local === undefined ? undefined : local - offsetMinutes * 60_000;
}

function instant(parts: readonly number[]): WallMs | undefined {
  const [year = Number.NaN, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts;
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  // Date.UTC carries 31 February over into March; a date that changed on the way was none.
  const kept =
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    date.getUTCHours() === hour &&
    date.getUTCMinutes() === minute &&
    date.getUTCSeconds() === second;
  return kept ? date.getTime() : undefined;
}
