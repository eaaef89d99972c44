import { EvictdError, messageOf } from '../base/errors.ts';
import { redact } from '../base/redact.ts';

/** What one check found. Part of what `evictd doctor --json` prints, a stable contract. */
export interface Finding {
  /** Of the check, a word for programs; several findings may share it. */
  readonly check: string;
  readonly state: 'ok' | 'warn' | 'fail';
  /** For people: what is so, with names and values. */
  readonly text: string;
  /** What the operator can do; undefined where nothing is to be done, or nobody knows. */
  readonly remedy: string | undefined;
}

/** A finding without the name of its check. */
export type Found = Omit<Finding, 'check'>;

export function ok(text: string): Found {
  return { state: 'ok', text, remedy: undefined };
}

export function warn(text: string, remedy?: string): Found {
  return { state: 'warn', text, remedy };
}

export function fail(text: string, remedy?: string): Found {
  return { state: 'fail', text, remedy };
}

/** What a check that threw has found. */
export function failBy(error: unknown): Found {
  const remedy = error instanceof EvictdError ? error.remedy : undefined;
  return fail(redact(messageOf(error)), remedy === undefined ? undefined : redact(remedy));
}
