import { spawnSync } from 'node:child_process';

export interface PackageState {
  /** Missing before, installed now. */
  readonly installed: readonly string[];
  /** Still missing: not root, or not Debian. Tests that need them have to say that they are skipped, and why. */
  readonly missing: readonly string[];
}

const QUERY_TIMEOUT_MS = 30_000;
const INSTALL_TIMEOUT_MS = 300_000;

/** Installs the Debian packages that are missing. Only root does; throws when apt-get fails. */
export function ensureDebianPackages(names: readonly string[]): PackageState {
  const missing = missingPackages(names);
  if (missing.length === 0 || process.getuid?.() !== 0) return { installed: [], missing };
  const install = ['install', '-y', '--no-install-recommends', ...missing];
  if (!runApt(install)) {
    // The package lists of a fresh machine may be empty or old.
    runApt(['update']);
    if (!runApt(install)) throw new Error(`apt-get could not install ${missing.join(', ')}`);
  }
  return { installed: missing, missing: [] };
}

/** Those of `names` that dpkg doesn't know as installed; all of them where there is no dpkg. */
export function missingPackages(names: readonly string[]): readonly string[] {
  if (names.length === 0) return [];
  const args = ['-W', '-f', '${db:Status-Status} ${Package}\n', ...names];
  // Unknown names make it exit with 1, but those it knows are printed all the same.
  const { stdout } = spawnSync('dpkg-query', args, { encoding: 'utf8', timeout: QUERY_TIMEOUT_MS });
  const lines = new Set((stdout ?? '').split('\n'));
  return names.filter((name) => !lines.has(`installed ${name}`));
}

function runApt(args: readonly string[]): boolean {
  const { status } = spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=60', ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: INSTALL_TIMEOUT_MS,
  });
  return status === 0;
}
