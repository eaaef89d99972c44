import ignore from 'ignore';
import type { Ignore } from 'ignore';

import { encodePath } from '../../base/files/path-name.ts';

/** Does a path, relative to the set, fit the patterns? That of a folder ends with a slash. */
export type Matcher = (path: string) => boolean;

/** By patterns: a set is looked at again and again. */
const known = new WeakMap<readonly string[], Matcher>();

/** The package keeps what it answered for each path: after so many, it begins anew with the same rules. */
const ANSWERS_MAX = 10_000;
const ASCII = /^[\0-\x7f]*$/;

/**
 * Exactly as `git check-ignore` answers for a `.gitignore` with these lines, one item each: a `#` at the beginning makes
 * a comment, spaces at the end count only after a backslash, `!` takes back what an earlier line named (but nothing
 * below a folder that is named itself), a slash at the end names folders only, and letters are told apart by case.
 * As git does, it goes by bytes: `?` and each member of `[…]` is one byte, and `é` has two.
 * Source: gitignore(5); what the package can't do, and git does, set-patterns.test.ts would find.
 */
export function matcher(patterns: readonly string[]): Matcher {
  const matches = known.get(patterns) ?? compile(patterns);
  known.set(patterns, matches);
  return matches;
}

function compile(patterns: readonly string[]): Matcher {
  if (patterns.length === 0) return () => false;
  if (patterns.length === 1 && patterns[0] === '**') return () => true;
  // Before the first question, and again where there is none for long: rules are compiled when they are needed.
  const rules = createRules().add(patterns.map(asBytes));
  let current: Ignore = createRules().add(rules);
  let answers = 0;
  return (path) => {
    if (++answers > ANSWERS_MAX) {
      current = createRules().add(rules);
      answers = 0;
    }
    return current.ignores(asBytes(path));
  };
}

function createRules(): Ignore {
  return ignore({ ignoreCase: false });
}

/** One character for each byte. */
function asBytes(path: string): string {
  return ASCII.test(path) ? path : encodePath(path).toString('latin1');
}
