import type { EvictdError } from '../base/errors.ts';
import { imdsError } from './error.ts';
import type { Answer } from './transport.ts';

const DETAIL_CHARACTERS_MAX = 200;

/**
 * The error for an answer that isn't 200. The codes are what the metadata service's documentation tells apart.
 * Source: learn.microsoft.com/azure/virtual-machines/instance-metadata-service ("Errors and debugging")
 */
export function statusError(answer: Answer, what: string): EvictdError {
  const { status } = answer;
  const message = `${what}: status ${status}${detailOf(answer)}`;
  if (status >= 300 && status < 400) return imdsError('imds-redirect', message);
  if (status === 404) return imdsError('imds-not-found', message);
  if (status === 410) return imdsError('imds-updating', message);
  if (status === 429) return imdsError('imds-throttled', message);
  if (status >= 500) return imdsError('imds-server-error', message);
  return imdsError('imds-refused', message);
}

/** The start of the answer's text on one line, for people; empty when there is none. */
export function detailOf(answer: Answer): string {
  const text = new TextDecoder()
    .decode(answer.body.subarray(0, 4 * DETAIL_CHARACTERS_MAX))
    .replaceAll(/[\p{Cc}\s]+/gu, ' ')
    .trim()
    .slice(0, DETAIL_CHARACTERS_MAX);
  return text === '' ? '' : `: ${text}`;
}
