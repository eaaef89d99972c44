import { EvictdError } from '../base/errors.ts';
import { isSuccess } from '../base/http-order.ts';
import type { HttpAnswer } from '../base/http-order.ts';
import { BadStatus } from './azure-errors.ts';
import type { SentAnswer } from './http-sender.ts';

/** The headers of a 2xx answer, by lower-case name. */
export type BlobAnswer = ReadonlyMap<string, string>;

export interface BothAnswers {
  readonly headers: BlobAnswer;
  /** Undefined: it didn't go out, or to no avail. */
  readonly next: BlobAnswer | undefined;
}

/** Throws a BadStatus. */
export function bothOf(answer: SentAnswer): BothAnswers {
  const { next } = answer;
  return {
    headers: headersOf(answer),
    next: next !== undefined && isSuccess(next) ? next.headers : undefined,
  };
}

/** Throws a BadStatus. */
export function headersOf(answer: HttpAnswer): BlobAnswer {
  if (isSuccess(answer)) return answer.headers;
  throw new BadStatus(answer);
}

/** A header that the service always sends with a success. */
export function headerOf(answer: BlobAnswer, name: string): string {
  const value = answer.get(name);
  if (value !== undefined) return value;
  throw new EvictdError('bad-answer', `the answer has no ${name}`);
}
