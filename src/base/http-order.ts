import { EvictdError } from './errors.ts';

/** Where a connection leads. */
export interface HttpOrigin {
  readonly host: string;
  readonly port: number;
  /** Absent: not encrypted. */
  readonly tls?: { readonly ciphers?: string; readonly ca?: string };
  readonly connectMs: number;
  /** After so long without a request a connection is closed. */
  readonly idleMs: number;
}

export interface HttpRequest {
  /** Request line and headers, up to and with the empty line; Latin-1. */
  readonly head: string;
  readonly body: Uint8Array | undefined;
  /** No more of the answer's body is read. Absent: nobody reads it. */
  readonly answerBytesMax?: number;
  /** The answer has no body. */
  readonly isHead?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  /** Lower-case names; of a header that comes twice the last one. */
  readonly headers: ReadonlyMap<string, string>;
  /** Undefined: it wasn't wanted, or is longer than wanted. */
  readonly body?: Buffer | undefined;
}

export type HttpOutcome =
  | ({ readonly kind: 'answer' } & HttpAnswer)
  /** Not HTTP, or too long. */
  | { readonly kind: 'unreadable' }
  /** A system error, or one of TLS. */
  | { readonly kind: 'failed'; readonly errno: string; readonly message: string };

/** What a connection needs of a URL. */
export function addressOf(url: string): { host: string; port: number; isSecure: boolean } {
  const { protocol, hostname, port } = new URL(url);
  const isSecure = protocol === 'https:';
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (isSecure ? 443 : 80) : Number(port),
    isSecure,
  };
}

/**
 * `HttpRequest.head`. `more` are header lines that many requests have in common; see headerLines.
 * Throws `refused` for what would end a line of it.
 */
export function requestHead(
  method: string,
  host: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  more = '',
): string {
  return `${linesOf([`${method} ${path} HTTP/1.1`, `host: ${host}`], headers)}${more}\r\n`;
}

/** Throws `refused` for what would end a line. */
export function headerLines(headers: Readonly<Record<string, string>>): string {
  return linesOf([], headers);
}

function linesOf(lines: string[], headers: Readonly<Record<string, string>>): string {
  // Made for each of thousands of requests: without pairs, and with one look at all of it.
  for (const name of Object.keys(headers)) lines.push(`${name}: ${headers[name] ?? ''}`);
  if (/[^\x20-\x7e]/.test(lines.join('')))
    throw new EvictdError('refused', 'a header or the credential holds a character that no request may have');
  return `${lines.join('\r\n')}\r\n`;
}

/** Any 2xx. */
export function isSuccess({ status }: { readonly status: number }): boolean {
  return status >= 200 && status < 300;
}

/** The outcome as what a request rejects with: `bad-answer`, or an error with the errno as its code. */
export function outcomeError(outcome: Exclude<HttpOutcome, { kind: 'answer' }>): Error {
  if (outcome.kind === 'unreadable') return new EvictdError('bad-answer', 'the answer is no HTTP');
  return Object.assign(new Error(outcome.message), { code: outcome.errno });
}

/** What a sending thread is asked for. */
export interface HttpOrder extends HttpRequest {
  /**
   * Head of a request without a body that is to follow on the same connection when this one succeeds and its answer has
   * an ETag: `if-match` with that is added to it.
   */
  readonly next?: string | undefined;
}

/** Without an order: the one of that number isn't wanted any more. */
export type HttpOrders = readonly (readonly [number: number, order: HttpOrder | undefined])[];
/** `next`: that of the request that followed. */
export type HttpOutcomes = readonly (readonly [number: number, outcome: HttpOutcome, next?: HttpOutcome])[];
