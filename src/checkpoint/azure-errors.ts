import { AssertionFailed } from '../base/assert.ts';
import { errnoOf, EvictdError } from '../base/errors.ts';
import type { HttpAnswer } from '../base/http-order.ts';
import type { Failure } from './store-retry.ts';
import type { StoreErrorCode } from './store.ts';

export interface ErrorContext {
  readonly account: string;
  readonly container: string;
  readonly host: string;
  /** What the user wrote the credential into, `AccountKey in FILE`; undefined when nobody wrote any. */
  readonly credentialPlace?: string | undefined;
}

/** An answer with another status than 2xx. */
export class BadStatus extends Error {
  override readonly name = 'BadStatus';
  readonly status: number;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;

  constructor({ status, headers }: HttpAnswer) {
    super(`HTTP ${status}`);
    this.status = status;
    this.headers = headers;
  }
}

/**
 * Says what an error of a request means.
 * Only statuses, codes and ids are taken over, each checked for its form: the service's messages, Node's errors and
 * their causes can hold URLs with a signature, so none of them goes into a message or becomes a cause.
 * Source: learn.microsoft.com, Status and error codes (Blob Storage).
 */
export function explainAzureError(error: unknown, context: ErrorContext): Failure {
  if (error instanceof AssertionFailed) throw error;
  if (error instanceof EvictdError) return ofOwnError(error);
  return error instanceof BadStatus ? ofStatus(error, context) : ofNetwork(error, context);
}

const NEVER = { kind: 'never' } as const;
const BACKOFF = { kind: 'backoff' } as const;

const RETRIED_STATUSES = new Set([408, 429, 500, 502, 503, 504]);
const UNAUTHENTICATED_CODES = new Set([
  'AuthenticationFailed',
  'InvalidAuthenticationInfo',
  'NoAuthenticationInformation',
]);

function ofStatus(error: BadStatus, context: ErrorContext): Failure {
  const { status } = error;
  const azureCode = azureCodeOf(error);
  const requestId = plain(error.headers.get('x-ms-request-id'), /^[\w-]{1,64}$/);
  const reason =
    `HTTP ${status}${azureCode === undefined ? '' : ` ${azureCode}`}` +
    (requestId === undefined ? '' : ` (request ${requestId})`);
  const code = codeOf(status, azureCode);
  const remedy = remedyOf(code, status, context);
  return { code, reason, ...(remedy !== undefined && { remedy }), retry: retryOf(error) };
}

function codeOf(status: number, azureCode: string | undefined): StoreErrorCode {
  if (azureCode === 'ContainerNotFound') return 'container-not-found';
  if (azureCode === 'InvalidBlockList') return 'missing-block';
  if (azureCode === 'RequestEntityTooLargeBlockCountExceedsLimit') return 'too-large';
  // A wrong account key or signature answers 403, as does a missing role; they need different remedies.
  if (status === 401 || (azureCode !== undefined && UNAUTHENTICATED_CODES.has(azureCode)))
    return 'unauthenticated';
  if (status === 403) return 'forbidden';
  if (status === 404) return 'not-found';
  if (status === 412 || (status === 409 && (azureCode === undefined || azureCode === 'BlobAlreadyExists')))
    return 'conflict';
  if (status === 413) return 'too-large';
  if (status === 429 || azureCode === 'ServerBusy') return 'throttled';
  if (status >= 500 || status === 408) return 'unavailable';
  return 'refused';
}

function retryOf(error: BadStatus): Failure['retry'] {
  const { status } = error;
  if (status === 401) return { kind: 'renewed' };
  if (!RETRIED_STATUSES.has(status)) return NEVER;
  const delayMs = retryAfterMs(error);
  return delayMs === undefined ? BACKOFF : { kind: 'after', delayMs };
}

/** Seconds, or an HTTP date, which is compared with the `Date` of the same answer: the guest's clock may be wrong. */
function retryAfterMs({ headers }: BadStatus): number | undefined {
  const header = headers.get('retry-after');
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const delay = Date.parse(header) - Date.parse(headers.get('date') ?? '');
  return Number.isNaN(delay) ? undefined : Math.max(0, delay);
}

function ofOwnError(error: EvictdError): Failure {
  const remedy = error.remedy === undefined ? {} : { remedy: error.remedy };
  if (error.code === 'no-token' || error.code === 'network' || error.code === 'bad-answer') {
    return { code: error.code, reason: error.message, ...remedy, retry: BACKOFF };
  }
  // Within the store only codes of the port are thrown; the class can't say so.
  return { code: error.code as StoreErrorCode, reason: error.message, ...remedy, retry: NEVER };
}

const RESET_ERRNOS = new Set(['ECONNRESET', 'EPIPE']);
const NETWORK_ERRNOS = new Set(
  'ETIMEDOUT ECONNREFUSED ECONNABORTED EHOSTUNREACH ENETUNREACH ENETDOWN ENOTFOUND EAI_AGAIN'.split(' '),
);

const NETWORK_REMEDY =
  'check checkpoint.store.url, name resolution, the route and the firewalls; no proxy is used';

function ofNetwork(error: unknown, context: ErrorContext): Failure {
  const errno = plain(errnoOf(error), /^[A-Z0-9_]{1,60}$/);
  const where = `connection to ${context.host} failed`;
  if (errno === undefined) {
    const name =
      plain(error instanceof Error ? error.name : undefined, /^[A-Za-z]{1,60}$/) ?? 'an unknown error';
    return { code: 'bad-answer', reason: `the ${where} with ${name}`, retry: BACKOFF };
  }
  const reason = `the ${where} with ${errno}`;
  if (RESET_ERRNOS.has(errno)) return { code: 'network', reason, retry: { kind: 'at-once' } };
  if (NETWORK_ERRNOS.has(errno)) return { code: 'network', reason, remedy: NETWORK_REMEDY, retry: BACKOFF };
  // Of a reading thread, for what is no HTTP.
  if (errno.startsWith('HPE_')) return { code: 'bad-answer', reason, retry: BACKOFF };
  const remedy = 'check the certificate, the clock and whether something on the way intercepts TLS';
  return { code: 'network', reason, remedy, retry: NEVER };
}

function remedyOf(code: StoreErrorCode, status: number, context: ErrorContext): string | undefined {
  const { account, container, credentialPlace } = context;
  if (code === 'container-not-found') {
    return `create it: az storage container create --account-name ${account} --name ${container} --auth-mode login`;
  }
  if (code === 'forbidden' && credentialPlace !== undefined) {
    return (
      `check ${credentialPlace}: it must belong to the account ${account}, be allowed there and not have expired ` +
      "(a shared access signature needs rwdlc); and check the account's firewall"
    );
  }
  if (code === 'forbidden') {
    return (
      `give the identity the role "Storage Blob Data Contributor" on the container ${container} of ${account} ` +
      "(it takes minutes to work), and check the account's firewall"
    );
  }
  if (code === 'unauthenticated') {
    const credential = credentialPlace ?? 'the credential';
    return `check ${credential}: it must belong to the account ${account} and still be valid; check the clock too`;
  }
  if (status >= 300 && status < 400)
    return 'check the URL, and whether a proxy or portal answers in place of Azure';
  return undefined;
}

/** The service's own code; a HEAD answer has no body, so the header comes first. */
export function azureCodeOf({ headers }: BadStatus): string | undefined {
  return plain(headers.get('x-ms-error-code'), /^[A-Za-z0-9]{1,80}$/);
}

function plain(text: string | undefined, form: RegExp): string | undefined {
  return text !== undefined && form.test(text) ? text : undefined;
}
