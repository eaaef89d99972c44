import picomatch from 'picomatch';

/** By patterns: a set is looked at again and again. */
const known = new WeakMap<readonly string[], (path: string) => boolean>();

/** Does a path, relative to the set, fit one of the globs? As .gitignore reads them; see SetOptions. */
export function matcher(patterns: readonly string[]): (path: string) => boolean {
  const matches = known.get(patterns) ?? compile(patterns);
  known.set(patterns, matches);
  return matches;
}

function compile(patterns: readonly string[]): (path: string) => boolean {
  const matchers = patterns.map((pattern) => {
    const trimmed = pattern.replace(/\/$/, '');
    // `s`: a file name may hold a newline.
    return picomatch(trimmed.replace(/^\//, ''), { dot: true, flags: 's', basename: !trimmed.includes('/') });
  });
  return (path) => matchers.some((matches) => matches(path));
}
