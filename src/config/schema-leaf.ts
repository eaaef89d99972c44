import * as z from 'zod';

import { messageOf } from '../base/errors.ts';
import { parseDuration, parseSize } from '../base/units.ts';

/** What every leaf says about itself; `x-allowed` is what an error message and the reference print. */
interface LeafText {
  readonly description: string;
  readonly allowed: string;
  /** Stands in the reference where there is no default. */
  readonly example?: unknown;
}

interface RangeText {
  readonly description: string;
  /** As written in the file, for example `250ms`. */
  readonly min: string;
  readonly max: string;
}

/** A duration: text with a unit in the file, milliseconds in the parsed config. */
export function duration({ description, min, max }: RangeText) {
  return quantity(parseDuration, formatExactDuration, 'a duration', min, max).meta({
    ...leafMeta({ description, allowed: `a duration from ${min} to ${max}` }),
    'x-unit': 's',
  });
}

/** A size: text with a unit in the file, bytes in the parsed config. */
export function size({ description, min, max }: RangeText) {
  return quantity(parseSize, formatExactSize, 'a size', min, max).meta({
    ...leafMeta({ description, allowed: `a size from ${min} to ${max}` }),
    'x-unit': 'MiB',
  });
}

export function integer({ description, min, max }: { description: string; min: number; max: number }) {
  return z
    .int()
    .min(min)
    .max(max)
    .meta(leafMeta({ description, allowed: `a whole number from ${min} to ${max}` }));
}

export function flag(description: string) {
  return z.boolean().meta(leafMeta({ description, allowed: 'true or false' }));
}

export function choice<const T extends readonly [string, ...string[]]>(values: T, description: string) {
  return z.enum(values).meta(leafMeta({ description, allowed: values.join(' | ') }));
}

/** Text that has to match `test`; `wrong` completes the sentence "VALUE is …". */
export function text(leaf: LeafText & { readonly test: (value: string) => boolean; readonly wrong: string }) {
  return z.string().refine(leaf.test, leaf.wrong).meta(leafMeta(leaf));
}

/** A name that can be a file name, a URL segment and a log field as it is. */
export function name(description: string, example: string) {
  return text({
    description,
    example,
    allowed: 'up to 64 letters, digits, ".", "_" and "-", not only dots',
    test: isName,
    wrong: 'not a usable name',
  });
}

export function isName(value: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(value) && !/^\.+$/.test(value);
}

export function absolutePath(description: string, example?: string) {
  return text({
    description,
    example,
    allowed: 'an absolute path without ".." parts',
    test: isCleanAbsolutePath,
    wrong: 'not an absolute path',
  });
}

/** A file that holds a secret: whatever was written here by mistake is never printed. */
export function secretFile(description: string, example: string) {
  return absolutePath(description, example).meta({ 'x-sensitive': true });
}

export function isCleanAbsolutePath(value: string): boolean {
  return value.startsWith('/') && !value.includes('\0') && !value.split('/').includes('..');
}

/** `HOST:PORT` in the file, both apart in the parsed config; an IPv6 address stands in brackets. */
export function listenAddress(description: string, example: string) {
  return z
    .codec(z.string(), z.strictObject({ host: z.string(), port: z.number() }), {
      decode(value, payload) {
        const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(value);
        const host = match?.[1] ?? match?.[2];
        const port = Number(match?.[3]);
        if (host === undefined || port > 65_535) {
          payload.issues.push({ code: 'custom', input: value, message: 'not an address with a port' });
          return z.NEVER;
        }
        return { host, port };
      },
      encode: ({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`),
    })
    .meta(leafMeta({ description, allowed: 'HOST:PORT, or [IPV6]:PORT', example }));
}

export function httpUrl(description: string, example: string) {
  return text({
    description,
    example,
    allowed: 'an http or https URL without user name and password',
    test: (value) => parseHttpUrl(value) !== undefined,
    wrong: 'not a usable URL',
  });
}

export function parseHttpUrl(value: string): URL | undefined {
  const url = URL.parse(value);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) return undefined;
  return url.username === '' && url.password === '' ? url : undefined;
}

/** Event types are an open set of Azure's; all known ones are plain words. */
export function isEventType(value: string): boolean {
  return /^[A-Za-z]{1,64}$/.test(value);
}

/** Milliseconds as a config file writes them, without rounding: `1500ms`, `8s`, `5m`. */
export function formatExactDuration(ms: number): string {
  for (const [unit, factor] of [
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
  ] as const) {
    if (ms !== 0 && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return ms === 0 ? '0s' : `${ms}ms`;
}

/** Bytes as a config file writes them, without rounding: `1500B`, `64KiB`, `8MiB`. */
export function formatExactSize(bytes: number): string {
  for (const [unit, factor] of [
    ['GiB', 1024 ** 3],
    ['MiB', 1024 ** 2],
    ['KiB', 1024],
  ] as const) {
    if (bytes !== 0 && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}B`;
}

export function leafMeta({ description, allowed, example }: LeafText) {
  return { description, 'x-allowed': allowed, ...(example === undefined ? {} : { 'x-example': example }) };
}

function quantity(
  parse: (value: string) => number,
  format: (value: number) => string,
  what: string,
  min: string,
  max: string,
) {
  return z.codec(z.string(), z.number(), {
    decode(value, payload) {
      const refuse = (message: string) => {
        payload.issues.push({ code: 'custom', input: value, message });
        return z.NEVER;
      };
      let amount: number;
      try {
        amount = parse(value);
      } catch (error) {
        // `"5 parsecs" is not a duration`: the value is put before it elsewhere.
        return refuse(/ is (not .*)$/.exec(messageOf(error))?.[1] ?? `not ${what}`);
      }
      if (amount < parse(min)) return refuse(`less than ${min}`);
      if (amount > parse(max)) return refuse(`more than ${max}`);
      return amount;
    },
    encode: format,
  });
}
