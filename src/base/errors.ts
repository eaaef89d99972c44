/**
 * The one error class for everything that can go wrong in operation.
 * `code` is stable and is what code and tests look at; `message` is for people and may change;
 * `remedy` says what the operator can do.
 */
export class EvictdError extends Error {
  override readonly name = 'EvictdError';
  readonly code: string;
  readonly remedy: string | undefined;

  constructor(code: string, message: string, options: { remedy?: string | undefined; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy;
  }
}

/** It is one of operation, with one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): error is EvictdError {
  return error instanceof EvictdError && codes.includes(error.code);
}

/** The errno name (`ENOENT`, `ECONNRESET`, …) of a system error, also when it is wrapped as a cause. */
export function errnoOf(error: unknown): string | undefined {
  for (
    let current = error, depth = 0;
    current instanceof Error && depth < 5;
    current = current.cause, depth++
  ) {
    if ('code' in current && typeof current.code === 'string') return current.code;
  }
  return undefined;
}

export function isErrno(error: unknown, ...codes: string[]): boolean {
  const code = errnoOf(error);
  return code !== undefined && codes.includes(code);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
