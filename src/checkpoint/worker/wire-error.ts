import { AssertionFailed } from '../../base/assert.ts';
import { EvictdError, messageOf } from '../../base/errors.ts';

/** An error on its way between threads: what is copied of an Error has lost its class, code and remedy. */
export interface WireError {
  /** `assertion` is a programmer's error, in whichever thread. */
  readonly kind: 'operation' | 'assertion';
  readonly code: string;
  readonly message: string;
  readonly remedy: string | undefined;
  readonly cause: WireError | undefined;
}

const CAUSES_MAX = 5;

export function toWire(error: unknown, causesLeft = CAUSES_MAX): WireError {
  const hasCause = error instanceof Error && error.cause !== undefined && causesLeft > 0;
  return {
    kind: error instanceof AssertionFailed || !hasCode(error) ? 'assertion' : 'operation',
    code: hasCode(error) ? error.code : 'unknown',
    message: messageOf(error),
    remedy: error instanceof EvictdError ? error.remedy : undefined,
    cause: hasCause ? toWire(error.cause, causesLeft - 1) : undefined,
  };
}

export function fromWire({ kind, code, message, remedy, cause: wireCause }: WireError): Error {
  if (kind === 'assertion') return new AssertionFailed(message);
  const cause = wireCause && fromWire(wireCause);
  return new EvictdError(code, message, { ...(remedy !== undefined && { remedy }), cause });
}

function hasCode(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}
