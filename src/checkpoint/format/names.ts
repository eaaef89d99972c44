import { randomBytes } from 'node:crypto';

import { EvictdError } from '../../base/errors.ts';
import type { PackName } from './chunk.ts';

export interface KeyPlace {
  /** May be empty. */
  readonly prefix: string;
  /** Who shares a line of checkpoints; may hold slashes. */
  readonly key: string;
}

/** Where a set lives in the container: `PREFIX/KEY/sets/SET/…`. */
export interface SetPlace extends KeyPlace {
  readonly set: string;
}

/* Relative to the set. */
export const PACKS = 'packs/';
export const CHECKPOINTS = 'checkpoints/';
export const HOLDS = 'holds/';
export const FORMAT = 'format.json';

/** What is right below a key: no key has such a segment, so that none can name a place inside of another. */
const RESERVED = new Set(['sets', 'reports', 'drill', 'holds']);

/*
 * A blob name has at most 1,024 characters, and 63 segments in an account with a hierarchical namespace, host and
 * container included. Source: learn.microsoft.com, Naming and Referencing Containers, Blobs, and Metadata.
 */
const PART_CHARACTERS_MAX = 512;
const PREFIX_CHARACTERS_MAX = 1024 - 64;
const KEY_SEGMENTS_MAX = 50;

export function isReservedSegment(segment: string): boolean {
  return RESERVED.has(segment);
}

/** `PREFIX/KEY/sets/SET/`. Throws `bad-key` when a part can't stand in a blob name. */
export function setPrefix(place: SetPlace): string {
  if (place.set.includes('/')) throw badPart('checkpoint set', place.set);
  const whole = `${keyPrefix(place)}sets/${checked('checkpoint set', place.set)}/`;
  if (whole.length > PREFIX_CHARACTERS_MAX) throw badPart('place of a checkpoint set', whole);
  return whole;
}

/** `PREFIX/KEY/`. Throws `bad-key` when a part can't stand in a blob name, or has a segment that is reserved. */
export function keyPrefix(place: KeyPlace): string {
  const prefix = place.prefix === '' ? '' : `${checked('store prefix', place.prefix)}/`;
  const whole = `${prefix}${checked('checkpoint key', place.key)}/`;
  const segments = whole.split('/');
  const reserved = segments.find(isReservedSegment);
  if (reserved !== undefined) {
    throw new EvictdError(
      'bad-key',
      `the checkpoint key ${JSON.stringify(whole)} has the segment ${reserved}`,
      {
        remedy: `name it otherwise: ${[...RESERVED].join(', ')} are for what is stored below a key`,
      },
    );
  }
  if (segments.length > KEY_SEGMENTS_MAX) throw badPart('checkpoint key', whole);
  return whole;
}

/** Relative to `packs/`. `epoch`: 16 hex digits, `process`: 8. */
export function packName(epoch: string, process: string, seq: number): PackName {
  return `${epoch}-${process}-${seq.toString(16).padStart(8, '0')}`;
}

export interface PackNumber {
  readonly epoch: string;
  readonly process: string;
  /** Below 2^32. */
  readonly seq: number;
}

const PACK_NAME = /^([0-9a-f]{16})-([0-9a-f]{8})-([0-9a-f]{8})$/;

/** `name`: relative to `packs/`. Undefined: no name of ours. */
export function parsePackName(name: string): PackNumber | undefined {
  const [, epoch, process, seq] = PACK_NAME.exec(name) ?? [];
  if (epoch === undefined || process === undefined || seq === undefined) return undefined;
  return { epoch, process, seq: Number.parseInt(seq, 16) };
}

/*
 * An entry's id is its number in the set's line of checkpoints, `00000001` and on: its parent's plus one, eight digits,
 * so that names sort by age. Two writers that go on from the same parent want the same id, and as nothing is ever
 * overwritten, one of them gets it and the other one a conflict.
 */
const ID = /^(?!0{8})\d{8}$/;
const ID_MAX = 99_999_999;

export function isCheckpointId(id: string): boolean {
  return ID.test(id);
}

/** The id after `id`; undefined: the first. Throws `no-more-ids` after the last. */
export function nextId(id: string | undefined): string {
  const next = Number(id ?? 0) + 1;
  if (!(next <= ID_MAX)) {
    throw new EvictdError('no-more-ids', `there is no checkpoint id after ${id ?? ''}`, {
      remedy: 'use another checkpoint key',
    });
  }
  return String(next).padStart(8, '0');
}

/** Relative to the set. */
export function entryName(id: string): string {
  return `${CHECKPOINTS}${id}.json`;
}

/** `name`: relative to the set. Undefined: no name of an entry. */
export function idOfEntryName(name: string): string | undefined {
  const id = name.startsWith(CHECKPOINTS) && name.endsWith('.json') ? name.slice(CHECKPOINTS.length, -5) : '';
  return isCheckpointId(id) ? id : undefined;
}

/** Of a hold on a checkpoint, from the container's root. */
export function newHoldName(place: SetPlace, id: string): string {
  return `${setPrefix(place)}${HOLDS}${id}-${randomBytes(8).toString('hex')}`;
}

/** So long the hold of a restore counts; one that takes longer, or died, holds nothing any more. */
export const RESTORE_HOLD_MS_MAX = 24 * 3_600_000;

/** 16 hex digits. */
export function newEpoch(): string {
  return randomBytes(8).toString('hex');
}

/** 8 hex digits. */
export function newProcess(): string {
  return randomBytes(4).toString('hex');
}

// Control characters, DEL and C1, percent, backslash, white space other than a blank, half pairs, non-characters, and
// blanks and dots at an edge: what the service, its XML listings or a URL on the way would turn into another name.
const UNSAFE =
  // eslint-disable-next-line no-control-regex -- control characters are what this is about
  /[\u0000-\u001F\u007F-\u00A0%\\\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF\uFFFE\uFFFF]|^ | $|\.$/;

function checked(what: string, part: string): string {
  const isFine = part.split('/').every((segment) => segment !== '' && !UNSAFE.test(segment));
  if (!isFine || !part.isWellFormed() || part.length > PART_CHARACTERS_MAX) throw badPart(what, part);
  return part;
}

function badPart(what: string, part: string): EvictdError {
  return new EvictdError('bad-key', `the ${what} ${JSON.stringify(part)} can't stand in a blob name`, {
    remedy: `use letters, digits, dashes and dots (no dot at the end), at most ${PART_CHARACTERS_MAX} characters`,
  });
}
