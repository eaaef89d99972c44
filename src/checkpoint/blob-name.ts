import { createHash } from 'node:crypto';

import { EvictdError } from '../base/errors.ts';
import { encodePath } from './path-name.ts';

/** Where a set lives in the container: `PREFIX/KEY/SET/…`. */
export interface SetPlace {
  /** May be empty. */
  readonly prefix: string;
  /** Who shares a line of checkpoints; may hold slashes. */
  readonly key: string;
  readonly set: string;
}

// learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
const BLOB_NAME_CHARACTERS_MAX = 1024;
const BLOB_NAME_SEGMENTS_MAX = 254;

/** `PREFIX/KEY/SET/`. Throws `bad-key` when a part can't stand in a blob name. */
export function setPrefix(place: SetPlace): string {
  if (place.set.includes('/')) throw badPart('checkpoint set', place.set);
  return `${keyPrefix(place)}${checked('checkpoint set', place.set)}/`;
}

/** `PREFIX/KEY/`. Throws `bad-key` when a part can't stand in a blob name. */
export function keyPrefix(place: { readonly prefix: string; readonly key: string }): string {
  const prefix = place.prefix === '' ? '' : `${checked('store prefix', place.prefix)}/`;
  return `${prefix}${checked('checkpoint key', place.key)}/`;
}

/** Relative to the set: what a manifest says. */
export const FILES = 'files/';
export const CHECKPOINTS = 'checkpoints/';
/** Who wrote last; see claim.ts. */
export const WRITER = 'writer.json';

/** How block ids are made; see hash-key.ts. */
export const HASH_KEY = 'hash-key.json';

/** What is below it at a key is a rehearsal's: no key and no set can have a `~`. */
export const DRILL = '~/';

/**
 * The name of a file's blob, relative to the set. The path itself, so that any tool can read the store, except for what
 * a blob name can't carry through Azure and its XML listings: `%`, backslash (the SDK makes it a slash), control
 * characters, line separators, bytes that aren't UTF-8, and dots and blanks at the edge of a segment. Those are written
 * as `%XX` per byte. A name that would be longer than Azure allows becomes `files/%long/HASH` (sha256 of the path's
 * bytes, in hex); no path escapes to that, since `%lo` is no escape.
 */
export function blobNameOf(path: string, prefixLength: number): string {
  const name = FILES + path.split('/').map(escapeSegment).join('/');
  const fits =
    prefixLength + name.length <= BLOB_NAME_CHARACTERS_MAX &&
    name.split('/').length + 16 <= BLOB_NAME_SEGMENTS_MAX;
  return fits ? name : `${FILES}%long/${createHash('sha256').update(encodePath(path)).digest('hex')}`;
}

// Control characters, DEL and C1, percent, backslash, white space other than a blank, lone surrogates, non-characters.
const UNSAFE =
  // eslint-disable-next-line no-control-regex -- control characters are what this is about
  /[\u0000-\u001F\u007F-\u00A0%\\\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF\uFFFE\uFFFF]|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]|^ | $|\.$/g;

function escapeSegment(segment: string): string {
  return segment.replace(UNSAFE, (character) =>
    [...encodePath(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

function checked(what: string, part: string): string {
  const segments = part.split('/');
  const fine = segments.every((segment) => segment !== '' && escapeSegment(segment) === segment);
  if (!fine || part.length > 512) throw badPart(what, part);
  return part;
}

function badPart(what: string, part: string): EvictdError {
  return new EvictdError('bad-key', `the ${what} ${JSON.stringify(part)} can't stand in a blob name`, {
    remedy: 'use letters, digits, dashes and dots (no dot at the end), at most 512 characters',
  });
}
