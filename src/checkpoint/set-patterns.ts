import picomatch from 'picomatch';

/** Does a path, relative to the set, fit one of the globs? As .gitignore reads them; see SetOptions. */
export function matcher(patterns: readonly string[]): (path: string) => boolean {
  const matchers = patterns.map((pattern) => {
    const trimmed = pattern.replace(/\/$/, '');
    // `s`: a file name may hold a newline.
    return picomatch(trimmed.replace(/^\//, ''), { dot: true, flags: 's', basename: !trimmed.includes('/') });
  });
  return (path) => matchers.some((matches) => matches(path));
}
