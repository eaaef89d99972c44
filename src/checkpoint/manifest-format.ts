import { isUtf8 } from 'node:buffer';

import { EvictdError } from '../base/errors.ts';
import { tryParseJson } from '../base/json.ts';
import { forEachInSlices } from '../base/slices.ts';
import { ENTRIES_MAX } from './schema.ts';
import type { Manifest } from './schema.ts';

/*
 * A manifest is one JSON object, written with a line for its head and one for each entry:
 *
 *     {"version":3,…,"files":[
 *     {"path":"a",…},
 *     {"path":"b",…}
 *     ],"directories":[
 *     ],"symlinks":[
 *     ],"hardLinks":[
 *     ]}
 *
 * So it can be written and read line by line, without holding up the polls, and the head without the rest. Any other
 * spelling of the same object is read as well, as a whole.
 */

export const MANIFEST_BYTES_MAX = 128 * 1024 ** 2;
export const ENTRY_LISTS = ['files', 'directories', 'symlinks', 'hardLinks'] as const;
export type EntryList = (typeof ENTRY_LISTS)[number];
export type Bad = (detail: string) => EvictdError;

const PIECE_CHARACTERS = 4 * 1024 ** 2;
const HEAD_END = ',"files":[';
const NEWLINE = 0x0a;

/** In pieces of some MiB, one after the other. Rejects `manifest-too-large`. */
export async function encodeManifest(
  manifest: Manifest,
  signal: AbortSignal,
): Promise<readonly [Buffer, ...Buffer[]]> {
  const { files, directories, symlinks, hardLinks, ...head } = manifest;
  const lists = { files, directories, symlinks, hardLinks };
  const count = ENTRY_LISTS.reduce((sum, list) => sum + lists[list].length, 0);
  if (count > ENTRIES_MAX) throw tooLarge(manifest.set, count);
  const pieces: Buffer[] = [];
  let bytes = 0;
  let text = JSON.stringify(head).slice(0, -1);
  const cut = (): Buffer => {
    const piece = Buffer.from(text, 'utf8');
    text = '';
    bytes += piece.length;
    if (bytes > MANIFEST_BYTES_MAX) throw tooLarge(manifest.set, count);
    return piece;
  };
  for (const list of ENTRY_LISTS) {
    text += `${list === 'files' ? '' : '\n]'},"${list}":[`;
    let separator = '\n';
    const add = (entry: object) => {
      text += separator + JSON.stringify(entry);
      separator = ',\n';
      if (text.length > PIECE_CHARACTERS) pieces.push(cut());
    };
    await forEachInSlices(lists[list], add, signal);
  }
  text += '\n]}\n';
  const last = cut();
  const [first, ...more] = pieces;
  return first === undefined ? [last] : [first, ...more, last];
}

function tooLarge(set: string, entries: number): EvictdError {
  return new EvictdError(
    'manifest-too-large',
    `the checkpoint set ${set} has too many files for one checkpoint: ${entries} entries`,
    { remedy: `split it into several sets of at most ${ENTRIES_MAX} entries, or pack the files` },
  );
}

export interface DecodedManifest {
  readonly head: unknown;
  /** Decoded while it is asked for; throws what `bad` makes. */
  readonly entries: Iterable<readonly [list: EntryList, entry: unknown]>;
}

export function decodeManifest(body: Uint8Array, bad: Bad): DecodedManifest {
  if (!isUtf8(body)) throw bad('it is not JSON');
  const head = decodeHead(body);
  if (head !== undefined) return { head, entries: entriesOfLines(body, bad) };
  const json = tryParseJson(textOf(body));
  if (json === undefined) throw bad('it is not JSON');
  return { head: json, entries: entriesOf(json, bad) };
}

/** The head, if `start` holds all of its line; undefined where it isn't written in lines. */
export function decodeHead(start: Uint8Array): unknown {
  const end = start.indexOf(NEWLINE);
  const line = end === -1 ? '' : textOf(start.subarray(0, end));
  return line.endsWith(HEAD_END) ? tryParseJson(`${line.slice(0, -HEAD_END.length)}}`) : undefined;
}

function* entriesOfLines(body: Uint8Array, bad: Bad): DecodedManifest['entries'] {
  let at = body.indexOf(NEWLINE) + 1;
  for (const [index, list] of ENTRY_LISTS.entries()) {
    const next = ENTRY_LISTS[index + 1];
    const endOfList = next === undefined ? ']}' : `],"${next}":[`;
    for (;;) {
      const end = body.indexOf(NEWLINE, at);
      if (end === -1) throw bad('it is not complete');
      const line = textOf(body.subarray(at, end));
      at = end + 1;
      if (line === endOfList) break;
      const entry = tryParseJson(line.endsWith(',') ? line.slice(0, -1) : line);
      if (entry === undefined) throw bad(`a line of its ${list} is not JSON`);
      yield [list, entry];
    }
  }
  if (at !== body.length) throw bad('something follows its end');
}

function* entriesOf(json: unknown, bad: Bad): DecodedManifest['entries'] {
  if (typeof json !== 'object' || json === null) return;
  for (const list of ENTRY_LISTS) {
    const entries: unknown = Object.hasOwn(json, list) ? Reflect.get(json, list) : undefined;
    if (!Array.isArray(entries)) throw bad(`${list}: it is no list`);
    for (const entry of entries) yield [list, entry];
  }
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}
