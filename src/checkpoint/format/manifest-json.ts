import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';

import type * as z from 'zod';

import { EvictdError } from '../../base/errors.ts';
import { tryParseJson } from '../../base/json.ts';
import { FORMAT_VERSION, NAMED_PATHS_MAX, SetEntry, SetFormat } from './manifest.ts';
import type { NamedPaths } from './manifest.ts';
import { entryName, FORMAT } from './names.ts';
import { TAKE_OLDER } from './tree/piece.ts';

export const SET_ENTRY_BYTES_MAX = 64 * 1024;
/** Of JSON, for each of the four lists of paths. */
const NAMED_BYTES_MAX = 8 * 1024;
/** Of one of them. */
const NAME_CHARACTERS_MAX = 1024;

type Bad = (why: string) => EvictdError;

/**
 * The JSON of an entry, a member on each line. What parseSetEntry would refuse isn't made: throws `bad-manifest` as that
 * does, or `manifest-too-large`.
 */
export function encodeSetEntry(entry: SetEntry): Buffer {
  const bytes = encode(entry);
  if (bytes.length > SET_ENTRY_BYTES_MAX) {
    throw new EvictdError(
      'manifest-too-large',
      `the manifest ${entryName(entry.id)} of the set ${entry.set} has ${bytes.length} bytes, at most ${SET_ENTRY_BYTES_MAX} are allowed`,
    );
  }
  parseSetEntry(bytes, entryName(entry.id), { set: entry.set, id: entry.id });
  return bytes;
}

/**
 * An entry, as it stands at `blobName`, of the set and with the id that are expected there.
 * Throws `bad-manifest` naming the blob and the place in it, or `manifest-version` when a newer version wrote it.
 */
export function parseSetEntry(
  bytes: Uint8Array,
  blobName: string,
  expected: { readonly set: string; readonly id: string },
): SetEntry {
  const bad: Bad = (why) =>
    new EvictdError('bad-manifest', `the manifest ${blobName} can't be used: ${why}`, {
      remedy: TAKE_OLDER,
    });
  const entry = parse(SetEntry, bytes, blobName, bad);
  if (entry.set !== expected.set) throw bad(`it belongs to the set ${JSON.stringify(entry.set)}`);
  if (entry.id !== expected.id) throw bad(`it says that it is ${entryName(entry.id)}`);
  // Ids never go back, whatever was removed: a parent may be more than one before it.
  if (entry.parent !== null && entry.parent.id >= entry.id) throw bad(`its parent is ${entry.parent.id}`);
  return entry;
}

export function encodeSetFormat(format: SetFormat): Buffer {
  const bytes = encode(format);
  parseSetFormat(bytes, FORMAT);
  return bytes;
}

/** `format.json`, as it stands at `blobName`. Throws `bad-format` naming it, or `manifest-version`. */
export function parseSetFormat(bytes: Uint8Array, blobName: string): SetFormat {
  const bad: Bad = (why) =>
    new EvictdError('bad-format', `${blobName} can't be used: ${why}`, {
      remedy: 'its members hash and cut stand in every manifest of the set, too: write it anew from there',
    });
  return parse(SetFormat, bytes, blobName, bad);
}

/** In hex. */
export function sha256Of(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex');
}

/** Counts all and names the first, as many as a manifest has room for. */
export function namedPaths(paths: readonly string[]): NamedPaths {
  const named: string[] = [];
  let bytes = 0;
  for (const one of paths) {
    // What can't be stored may be of any length.
    const path = one.length <= NAME_CHARACTERS_MAX ? one : `${one.slice(0, NAME_CHARACTERS_MAX)}…`;
    bytes += Buffer.byteLength(JSON.stringify(path)) + 1;
    if (named.length === NAMED_PATHS_MAX || bytes > NAMED_BYTES_MAX) break;
    named.push(path);
  }
  return { count: paths.length, paths: named };
}

function encode(value: SetEntry | SetFormat): Buffer {
  const members = Object.entries({ version: FORMAT_VERSION, ...value }).map(
    ([name, member]) => `  ${JSON.stringify(name)}: ${JSON.stringify(member)}`,
  );
  return Buffer.from(`{\n${members.join(',\n')}\n}\n`, 'utf8');
}

function parse<T>(schema: z.ZodType<T>, bytes: Uint8Array, blobName: string, bad: Bad): T {
  if (bytes.length > SET_ENTRY_BYTES_MAX) throw bad(`it has more than ${SET_ENTRY_BYTES_MAX} bytes`);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  const json = isUtf8(bytes) ? tryParseJson(text) : undefined;
  if (typeof json !== 'object' || json === null) throw bad('it is no JSON object');
  const version = 'version' in json ? json.version : undefined;
  if (typeof version === 'number' && version > FORMAT_VERSION) {
    throw new EvictdError('manifest-version', `${blobName} was written by a newer version of evictd`, {
      remedy: 'install that version or a newer one',
    });
  }
  if (version !== FORMAT_VERSION) throw bad('it says no version that there is');
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw bad(`${(issue?.path ?? []).join('.')}: ${issue?.message ?? 'not what it should be'}`);
}
