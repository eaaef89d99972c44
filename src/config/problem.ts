import { EvictdError } from '../base/errors.ts';
import type { Origin } from './tree.ts';

/** One thing that is wrong with the configuration. */
export interface Problem {
  /** `FILE:LINE:COL`, the name of a variable, or a flag. */
  readonly origin: Origin;
  /** `imds.pollInterval`; absent when it concerns a whole file. */
  readonly key: string | undefined;
  /** What is wrong, with the value. */
  readonly message: string;
  /** What would be right. */
  readonly allowed: string | undefined;
  /** Nothing is wrong with what was written, but something has to be. */
  readonly isMissing?: boolean;
}

/** A file that is no configuration at all can have a problem at each of its bytes, or one that quotes all of it. */
const SHOWN_MAX = 100;
const CHARACTERS_MAX = 900;

/** All problems of a configuration at once; `code` is `config-invalid`. */
export class ConfigInvalid extends EvictdError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
    const shown = problems
      .slice(0, SHOWN_MAX)
      .map((problem) => formatProblem(problem).slice(0, CHARACTERS_MAX));
    if (problems.length > SHOWN_MAX) shown.push(`and ${problems.length - SHOWN_MAX} more`);
    super('config-invalid', [`the configuration has ${count}`, ...shown].join('\n  '), {
      remedy:
        'correct what is named above, then run `evictd config check`; `evictd config reference` explains every key',
    });
    this.problems = problems;
  }
}

/** `FILE:LINE:COL: KEY: VALUE is …; allowed: …` */
export function formatProblem({ origin, key, message, allowed }: Problem): string {
  const what = [origin, key, message].filter((part) => part !== undefined).join(': ');
  return allowed === undefined ? what : `${what}; allowed: ${allowed}`;
}

/** The value as an error may show it: bounded, and never anything that could be a secret. */
export function showValue(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'a map';
  const shown = JSON.stringify(value) ?? String(value);
  if (/sig=|key=|token|password|secret|\/\/[^/]*@|\?/i.test(shown))
    return 'the value (not shown, it may hold a secret)';
  return shown.length > 80 ? `${shown.slice(0, 77)}…"` : shown;
}
