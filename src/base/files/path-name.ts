import { EvictdError } from '../errors.ts';

/*
 * A Linux file name is bytes, metadata is JSON. A path is therefore kept as a string in which a byte 0xNN that isn't
 * part of valid UTF-8 stands as the lone surrogate U+DCNN (Python's "surrogateescape"). JSON carries it as `\udcNN`.
 */

export const PATH_BYTES_MAX = 4095;
const NAME_BYTES_MAX = 255;

/** Bytes of a name or path → string; every sequence of bytes comes back by `encodePath`. */
export function decodePath(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  if (!text.includes('\uFFFD') || Buffer.from(text, 'utf8').equals(bytes)) return text;
  let decoded = '';
  for (let at = 0; at < bytes.length;) {
    const length = validSequenceLength(bytes, at);
    decoded +=
      length === 0 ? String.fromCharCode(0xdc00 + (bytes[at] ?? 0)) : bytes.toString('utf8', at, at + length);
    at += Math.max(length, 1);
  }
  return decoded;
}

/** The bytes of a path string. Throws `bad-path` for a lone surrogate that stands for no byte. */
export function encodePath(path: string): Buffer {
  if (path.isWellFormed()) return Buffer.from(path, 'utf8');
  const pieces: Buffer[] = [];
  for (const character of path) {
    const code = character.codePointAt(0) ?? 0;
    if (code >= 0xdc80 && code <= 0xdcff) pieces.push(Buffer.of(code - 0xdc00));
    else if (code >= 0xd800 && code <= 0xdfff) {
      throw new EvictdError('bad-path', `${quotePath(path)} holds a surrogate that stands for no byte`);
    } else pieces.push(Buffer.from(character, 'utf8'));
  }
  return Buffer.concat(pieces);
}

/** What node:fs takes for `path` below `root`: a string wherever one can say it. */
export function fsPath(root: string, path: string): string | Buffer {
  const full = path === '' ? root : `${root}/${path}`;
  return full.isWellFormed() ? full : encodePath(full);
}

/** The folder that holds `path`, and its name in there. */
export function splitPath(path: string): { readonly folder: string; readonly name: string } {
  const slash = path.lastIndexOf('/');
  return { folder: path.slice(0, Math.max(slash, 0)), name: path.slice(slash + 1) };
}

/**
 * Why `path` can't be a path inside a set, or undefined when it is fine:
 * relative, no empty, `.` or `..` segment, no NUL, and the one spelling that its bytes have.
 */
export function pathProblem(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (path.startsWith('/')) return 'is absolute';
  const problem = bytesProblem(path);
  if (problem !== undefined) return problem;
  for (let from = 0; from <= path.length;) {
    const slash = path.indexOf('/', from);
    const end = slash === -1 ? path.length : slash;
    const found = segmentProblem(path.slice(from, end));
    if (found !== undefined) return found;
    from = end + 1;
  }
  return undefined;
}

/** Why `text` can't be handed to the system as a path: too long, a NUL, or not spelled as its bytes are. */
export function bytesProblem(text: string): string | undefined {
  if (text.includes('\0')) return 'holds a NUL';
  // A character has at most three bytes, and only surrogates can be spelled wrongly.
  if (text.length * 3 <= PATH_BYTES_MAX && text.isWellFormed()) return undefined;
  if (text.length > PATH_BYTES_MAX) return `is longer than ${PATH_BYTES_MAX} bytes`;
  if (/(?<![\uD800-\uDBFF])[\uDC00-\uDC7F\uDD00-\uDFFF]|[\uD800-\uDBFF](?![\uDC00-\uDFFF])/.test(text)) {
    return 'holds a surrogate that stands for no byte';
  }
  const bytes = encodePath(text);
  if (bytes.length > PATH_BYTES_MAX) return `is longer than ${PATH_BYTES_MAX} bytes`;
  return decodePath(bytes) === text ? undefined : 'is not spelled as its bytes are';
}

function segmentProblem(segment: string): string | undefined {
  if (segment === '') return 'holds an empty segment';
  if (segment === '.' || segment === '..') return `holds the segment ${segment}`;
  if (segment.length * 3 <= NAME_BYTES_MAX) return undefined;
  return encodePath(segment).length > NAME_BYTES_MAX
    ? `holds a name longer than ${NAME_BYTES_MAX} bytes`
    : undefined;
}

/** For messages: quoted, with newlines and odd bytes visible. */
export function quotePath(path: string): string {
  return JSON.stringify(path);
}

/** Length of the valid UTF-8 sequence that begins at `at`; 0 when there is none. */
function validSequenceLength(bytes: Buffer, at: number): number {
  const lead = bytes[at] ?? 0;
  const length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  const piece = bytes.subarray(at, at + length);
  // Decoding replaces whatever is invalid (overlong forms and surrogates too), so a round trip proves validity.
  return piece.length === length && Buffer.from(piece.toString('utf8'), 'utf8').equals(piece) ? length : 0;
}
