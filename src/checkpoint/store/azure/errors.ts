import { RestError } from '@azure/storage-blob';

import { AssertionFailed } from '../../../base/assert.ts';
import { errnoOf, EvictdError } from '../../../base/errors.ts';
import { azureCodes, forbidden } from './codes.ts';
import type { ErrorContext, Meaning } from './codes.ts';
import type { Failure } from '../retry.ts';

/** Thrown in an attempt by what knows better than a status what went wrong. */
export class AttemptFailed extends Error {
  override readonly name = 'AttemptFailed';
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.reason);
    this.failure = failure;
  }
}

/**
 * Says what an error of a request means.
 * Only statuses, codes and ids are taken over, each checked for its form: the service's messages, the SDK's errors and
 * their causes can hold URLs with a signature, so none of them goes into a message or becomes a cause.
 * Source: learn.microsoft.com, Status and error codes (Blob Storage).
 */
export function explainAzureError(error: unknown, context: ErrorContext): Failure {
  if (error instanceof AssertionFailed) throw error;
  if (error instanceof AttemptFailed) return error.failure;
  if (error instanceof EvictdError) return ofOwnError(error);
  const status = error instanceof RestError ? error.statusCode : undefined;
  if (error instanceof RestError && status !== undefined) {
    // The SDK has not understood an answer that says all is well.
    if (status >= 200 && status < 300)
      return badAnswer(`HTTP ${status} with a body that is not the service's`);
    return ofStatus(error, status, context);
  }
  return ofNetwork(error, context);
}

/** In every answer of the service: what comes without it, a portal's page with status 200, is somebody else's. */
export function assertOfService({ requestId }: { readonly requestId?: string | undefined }): void {
  if (requestId === undefined) throw new AttemptFailed(badAnswer('the answer is not from the service'));
}

/** An answer that may be another one next time: of something on the way, or broken by it. */
export function badAnswer(reason: string): Failure {
  return { code: 'bad-answer', reason, retry: BACKOFF };
}

const NEVER = { kind: 'never' } as const;
const BACKOFF = { kind: 'backoff' } as const;
const RENEWED = { kind: 'renewed' } as const;
const RETRIED_STATUSES = new Set([408, 429, 500, 502, 503, 504]);

function ofStatus(error: RestError, status: number, context: ErrorContext): Failure {
  const header = (name: string, form: RegExp) => plain(error.response?.headers.get(name), form);
  const requestId = header('x-ms-request-id', /^[\w-]{1,64}$/);
  // The answer to a HEAD has no body, so the header comes first.
  const azureCode =
    header('x-ms-error-code', /^[A-Za-z0-9]{1,80}$/) ?? plain(error.code, /^[A-Z][A-Za-z0-9]{1,80}$/);
  const reason =
    `HTTP ${status}${azureCode === undefined ? '' : ` ${azureCode}`}` +
    (requestId === undefined ? '' : ` (request ${requestId})`);
  // A portal or a proxy on the way knows nothing of what is in the store.
  if (status === 404 && requestId === undefined) return badAnswer(`${reason}, which is not from the service`);
  const known = azureCode === undefined ? undefined : azureCodes[azureCode];
  const { code, remedy } = known ?? ofUnknownCode(status) ?? { code: 'refused', remedy: undefined };
  const text = remedy?.(context);
  const isRetried = known?.isRetried ?? RETRIED_STATUSES.has(status);
  const retry = code === 'unauthenticated' ? RENEWED : isRetried ? waitOf(error) : NEVER;
  return { code, reason, ...(text !== undefined && { remedy: text }), retry };
}

/** What stands before the service, and the answers of emulators and services to come. */
function ofUnknownCode(status: number): Meaning | undefined {
  if (status === 401) return azureCodes['AuthenticationFailed'];
  if (status === 403) return { code: 'forbidden', remedy: forbidden };
  if (status === 404) return { code: 'not-found' };
  if (status === 413) return { code: 'too-large' };
  // A store that is only busy gets round to everybody.
  if (status === 429 || status === 503) return { code: 'throttled' };
  if (status >= 500 || status === 408) return { code: 'unavailable' };
  if (status < 400)
    return {
      code: 'refused',
      remedy: () => 'check the URL, and whether a proxy or portal answers in place of Azure',
    };
  return undefined;
}

/** Seconds, or an HTTP date, which is compared with the `Date` of the same answer: the guest's clock may be wrong. */
function waitOf({ response }: RestError): Failure['retry'] {
  const header = response?.headers.get('retry-after');
  if (header === undefined) return BACKOFF;
  if (/^\d{1,9}$/.test(header)) return { kind: 'after', delayMs: Number(header) * 1000 };
  const delayMs = Date.parse(header) - Date.parse(response?.headers.get('date') ?? '');
  return Number.isNaN(delayMs) ? BACKOFF : { kind: 'after', delayMs: Math.max(0, delayMs) };
}

function ofOwnError(error: EvictdError): Failure {
  const remedy = error.remedy === undefined ? {} : { remedy: error.remedy };
  const retry = error.code === 'no-token' || error.code === 'network' ? BACKOFF : NEVER;
  // Within the store only codes of the port are thrown; the class can't say so.
  return { code: error.code as Failure['code'], reason: error.message, ...remedy, retry };
}

/** The server closed an idle connection under us, or there was one that had died. */
const RESET_ERRNOS = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']);
const NETWORK_ERRNOS = new Set(
  'ETIMEDOUT ECONNREFUSED ECONNABORTED EHOSTUNREACH ENETUNREACH ENETDOWN ENOTFOUND EAI_AGAIN UND_ERR_CONNECT_TIMEOUT'.split(
    ' ',
  ),
);
const BROKEN = /^(?:HPE_|UND_ERR_(?:RES_CONTENT_LENGTH_MISMATCH|HEADERS_OVERFLOW)|PARSE_ERROR)/;
const NETWORK_REMEDY =
  'check checkpoint.store.url, name resolution, the route and the firewalls; no proxy is used';

function ofNetwork(error: unknown, context: ErrorContext): Failure {
  const errno = plain(errnoOf(error), /^[A-Z0-9_]{1,60}$/);
  if (errno === undefined) {
    // What the SDK stumbles over, in an answer that isn't the service's.
    const name = plain(error instanceof Error ? error.name : undefined, /^[A-Za-z]{1,60}$/);
    return badAnswer(`the answer of ${context.host} can't be understood (${name ?? 'unknown error'})`);
  }
  const reason = `the connection to ${context.host} failed with ${errno}`;
  if (RESET_ERRNOS.has(errno)) return { code: 'network', reason, retry: { kind: 'at-once' } };
  if (NETWORK_ERRNOS.has(errno)) return { code: 'network', reason, remedy: NETWORK_REMEDY, retry: BACKOFF };
  if (BROKEN.test(errno)) return badAnswer(reason);
  if (errno === 'UND_ERR_DESTROYED' || errno === 'UND_ERR_CLOSED')
    return { code: 'aborted', reason: 'the store was closed', retry: NEVER };
  const remedy = 'check the certificate, the clock and whether something on the way intercepts TLS';
  return { code: 'network', reason, remedy, retry: NEVER };
}

function plain(text: string | undefined, form: RegExp): string | undefined {
  return text !== undefined && form.test(text) ? text : undefined;
}
