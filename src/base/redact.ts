import { EvictdError } from './errors.ts';

export const REDACTED = '[redacted]';

/**
 * Takes secrets out of a text: SAS tokens (alone and in URLs), account and access keys, headers that authorise and
 * cookies, bearer tokens, JWTs, token answers, passwords, addresses of webhooks, private keys.
 *
 * It errs on the side of taking too much. Time is linear in the length of the text: every pattern begins at a
 * fixed word or covers a whole run of its characters, so that no character is looked at from many starts.
 */
export function redact(text: string): string {
  return text
    .replace(PRIVATE_KEY, REDACTED)
    .replace(URL_PASSWORD, `$1:${REDACTED}@`)
    .replace(WEBHOOK, `$1${REDACTED}`)
    .replace(QUERY, redactQuery)
    .replace(HEADER, `$1${REDACTED}`)
    .replace(QUOTED_FIELD, `$1${REDACTED}`)
    .replace(CONNECTION_STRING_PART, `$1${REDACTED}`)
    .replace(TOKEN_FIELD, `$1${REDACTED}`)
    .replace(WORD_FIELD, `$1${REDACTED}`)
    .replace(SIGNATURE, `$1${REDACTED}`)
    .replace(SCHEME, `$1 ${REDACTED}`)
    .replace(ACCESS_KEY, REDACTED)
    .replace(TOKEN_RUN, redactRun);
}

export interface RedactLimits {
  /** Nesting below this is replaced by a mark. */
  readonly depthMax: number;
  /** Entries of one object or array; the number of left-out ones is mentioned. */
  readonly entriesMax: number;
  /** Characters of one string. */
  readonly stringMax: number;
  /** Bytes of the whole value as JSON, roughly; what comes after is left out. */
  readonly bytesMax: number;
}

/**
 * With the last string's worst case (six bytes a character) below 48 KiB, the longest line that journald takes in
 * one piece (journald.conf(5), `LineMax=`).
 */
export const FIELD_LIMITS: RedactLimits = {
  depthMax: 6,
  entriesMax: 100,
  stringMax: 4096,
  bytesMax: 16 * 1024,
};

/**
 * A copy of any value that is plain JSON, bounded and without secrets; a field whose name says that it holds a
 * secret loses its value whatever it looks like. Errors become `{ code, message, remedy, cause, … }`, without the
 * request and response objects that SDK errors carry. Never throws, also not for cycles or throwing getters.
 */
export function redactDeep(value: unknown, limits: RedactLimits = FIELD_LIMITS): unknown {
  return copyValue(value, { limits, bytesLeft: limits.bytesMax }, 0);
}

// A quote, possibly escaped, as in JSON within a string.
const QUOTE = String.raw`\\{0,4}["']`;
// What stands between a name and its value in JSON, headers, form data, YAML and inspected objects.
const ASSIGN = String.raw`(?:${QUOTE})?[ \t]{0,8}[:=][ \t]{0,8}(?:\[\s{0,8}(?=["'\\]))?(?:${QUOTE})?`;
// A backslash belongs to the value (`\/`, `\u0026`) unless it escapes the quote that ends it.
const ESCAPED = String.raw`\\[^"'\\\s]`;

// To the text's end where the key's own end is missing.
const PRIVATE_KEY =
  /-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}[^]*?(?:-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|$)/g;
// Their paths are the secret, unless that is in the query. In JSON a slash can have a backslash before it.
const WEBHOOK =
  /((?:\bhooks\.slack(?:-gov)?\.com|\.webhook\.office\.com|\boutlook\.office(?:365)?\.com\\?\/webhook|\bdiscord(?:app)?\.com\\?\/api\\?\/webhooks)(?::\d{1,5})?\\?\/)(?!\[redacted\])(?:\\\/|[^\s"'<>\\])+/gi;
const URL_PASSWORD = /(:\/\/[^\s/:@"'?]{0,256}):[^\s/@"']{1,1024}@/g;
const QUERY = /\?[^\s"'<>?]+/g;
// The rest of the line or of the quoted text, since a scheme can have several parts, quoted ones among them.
const HEADER = new RegExp(
  String.raw`((?:authorization|\b(?:set-)?cookie)${ASSIGN})(?:=["'][^"'\r\n\\]*["']|[^"'\r\n\\])+`,
  'gi',
);
// After a colon and a space, a short word is prose (`AccountKey: check it`), as remedies are; no key is that short.
const PROSE = String.raw`(?::[ \t]{1,8}[A-Za-z]{1,15}(?![^\s;"'\\.,:)]))`;
const CONNECTION_STRING_PART = new RegExp(
  String.raw`((?:account|(?:shared)?access)_?(?:key|signature)(?!${PROSE})${ASSIGN})(?:[^\s;"'\\]|${ESCAPED})+`,
  'gi',
);
const SECRET_FIELD = String.raw`(?:(?:access|refresh|id|sas)_?token|client_?(?:secret|assertion)|password)`;
// Words that also stand in prose; whatever stands before them, as in `DB_TOKEN` and `X-Api-Key`.
const SECRET_WORD = String.raw`(?:token|secret|(?:api|functions?|subscription|private)[_-]?key|passw(?:or)?d|pass(?:phrase|code)|pwd)`;
// A value in quotes can have spaces and signs in it, and the quote itself after a backslash.
const QUOTED_FIELD = new RegExp(
  String.raw`(${SECRET_WORD}(?:${QUOTE})?[ \t]{0,8}[:=][ \t]{0,8}(${QUOTE}))(?!\[redacted\])(?:(?!\2)(?:\\[^\r\n]|[^\r\n]))+`,
  'gi',
);
const VALUE = String.raw`(?!\[redacted\])(?:[^\s"'\\;&,}\]]|${ESCAPED})+`;
const TOKEN_FIELD = new RegExp(`(${SECRET_FIELD}${ASSIGN})${VALUE}`, 'gi');
// A value with signs in it goes to its last one, which can be a password's.
const WORD_FIELD = new RegExp(
  String.raw`(${SECRET_WORD}(?!${PROSE})${ASSIGN})(?!\[redacted\])(?:[^\s"'\\&}\]]|${ESCAPED})+`,
  'gi',
);
// An ellipsis stands for a signature where a text explains its form.
const SIGNATURE = /(sig(?:=|%3D))(?!…)[^\s&"'<>;]+/gi;
const SCHEME = /\b(Bearer|SharedKey|SharedKeyLite|SharedAccessSignature)[ \t]{1,8}[^\s"',;\\]{6,}/gi;
// 64 bytes in Base64: a storage account key, also where nothing says so.
const ACCESS_KEY = /(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86,}==/g;
const TOKEN_RUN = /[A-Za-z0-9_.-]{20,}/g;

/** The whole query goes: besides the signature it tells who may do what until when. */
function redactQuery(query: string): string {
  return /sig(?:=|%3D)/i.test(query) ? `?${REDACTED}` : query;
}

/** What GitHub, GitLab and Slack begin their tokens with, so that they are found. */
const KNOWN_TOKEN = /(?:gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-)/;

/** A JWT is Base64url parts with dots between, the first of which begins with `{"` (RFC 7519). */
function redactRun(run: string): string {
  const jwt = run.indexOf('eyJ');
  if (jwt !== -1 && run.includes('.', jwt)) return run.slice(0, jwt) + REDACTED;
  const known = run.search(KNOWN_TOKEN);
  return known === -1 ? run : run.slice(0, known) + REDACTED;
}

const SECRET_NAME =
  /^(?:(?:proxy-?)?authorization|(?:set-?)?cookie|pwd|passphrase|.{0,64}(?:token|secret|passw(?:or)?d|signature|credential)|.{0,64}(?:account|access|api)[_-]?key|.{0,64}connection[_-]?string|sas|sig)$/i;
// Longer texts are cut before they are searched, to bound the time of one log call.
const SEARCHED_MAX = 64 * 1024;
// A secret cut in two may not be recognised; the shapes that are known without a name before them are shorter.
const CUT_MARGIN = 512;
const CAUSES_MAX = 5;

interface Copy {
  readonly limits: RedactLimits;
  bytesLeft: number;
}

function copyValue(value: unknown, copy: Copy, depth: number): unknown {
  if (copy.bytesLeft <= 0) return '[left out]';
  switch (typeof value) {
    case 'string':
      return copyText(value, copy);
    case 'number':
    case 'boolean':
    case 'bigint':
      copy.bytesLeft -= 8;
      return typeof value === 'boolean' || Number.isFinite(value) ? value : String(value);
    case 'object':
      return value === null ? null : copyObject(value, copy, depth);
    case 'undefined':
      return undefined;
    default:
      return `[${typeof value}]`;
  }
}

function copyText(text: string, copy: Copy): string {
  const searched = redact(text.length > SEARCHED_MAX ? text.slice(0, SEARCHED_MAX) : text);
  const whole = text.length > SEARCHED_MAX ? searched.slice(0, -CUT_MARGIN) : searched;
  const lengthMax = Math.max(0, Math.min(copy.limits.stringMax, copy.bytesLeft));
  const kept = whole.length > lengthMax ? whole.slice(0, lengthMax) : whole;
  // As JSON, since a control character takes six bytes there.
  copy.bytesLeft -= Buffer.byteLength(JSON.stringify(kept));
  const missing = text.length > SEARCHED_MAX ? text.length - kept.length : whole.length - kept.length;
  return missing === 0 ? kept : `${kept}… [${missing} more characters]`;
}

function copyObject(value: object, copy: Copy, depth: number): unknown {
  if (depth >= copy.limits.depthMax) return Array.isArray(value) ? '[array]' : '[object]';
  copy.bytesLeft -= 2;
  try {
    if (value instanceof Error) return copyError(value, copy, depth);
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
    if (value instanceof URL) return copyText(value.href, copy);
    if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
    if (Array.isArray(value) || value instanceof Set) return copyItems([...value], copy, depth);
    return copyEntries(value instanceof Map ? [...value] : Object.entries(value), copy, depth);
  } catch {
    // A getter or proxy of somebody else's object threw; the mark in the log line is the report of it.
    return '[unreadable]';
  }
}

function copyItems(items: readonly unknown[], copy: Copy, depth: number): unknown[] {
  const copied: unknown[] = [];
  for (const item of items.slice(0, copy.limits.entriesMax)) {
    if (copy.bytesLeft <= 0) break;
    copied.push(copyValue(item, copy, depth + 1) ?? null);
  }
  if (copied.length < items.length) copied.push(`… [${items.length - copied.length} more]`);
  return copied;
}

function copyEntries(entries: readonly (readonly [unknown, unknown])[], copy: Copy, depth: number): unknown {
  const copied: [string, unknown][] = [];
  for (const [key, value] of entries.slice(0, copy.limits.entriesMax)) {
    if (copy.bytesLeft <= 0) break;
    const name = copyText(String(key), copy);
    const secret = SECRET_NAME.test(name) && value !== null && ['string', 'object'].includes(typeof value);
    copied.push([name, secret ? REDACTED : copyValue(value, copy, depth + 1)]);
  }
  if (copied.length < entries.length) copied.push(['…', `[${entries.length - copied.length} more]`]);
  return Object.fromEntries(copied);
}

function copyError(error: Error, copy: Copy, depth: number): unknown {
  const code = 'code' in error ? error.code : undefined;
  const fields: [string, unknown][] = [
    ['name', error.name],
    ['code', code],
    ['statusCode', 'statusCode' in error ? error.statusCode : undefined],
    ['message', error.message],
    ['remedy', error instanceof EvictdError ? error.remedy : undefined],
    // Without a code it is a fault of the program, and where it happened is what one needs to know.
    ['stack', code === undefined ? error.stack : undefined],
    ['errors', error instanceof AggregateError ? error.errors.slice(0, CAUSES_MAX) : undefined],
    ['cause', error.cause],
  ];
  return copyEntries(
    fields.filter(([, value]) => value !== undefined),
    copy,
    depth,
  );
}
