import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** As an image for Azure; libatomic1 is for Node, iproute2 for the address of IMDS, procps to send signals and look. */
const PACKAGES = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'iproute2',
  'ca-certificates',
  'procps',
  'libatomic1',
  'cloud-init',
  'curl',
  'init-system-helpers',
];
const CACHE = new URL('../../.cache/roots/', import.meta.url).pathname;
// Takes about 30 s, with a kernel twice that; the rest is for a slow mirror, a busy machine and another who makes it.
const BUILD_MS_MAX = 400_000;
/** Of test files that need the same root at once, one makes it. It has its name only when it is whole. */
const BUILD = `
root=$1 packages=$2 suite=$3 mirror=$4
[ ! -e "$root" ] || exit 0
rm -rf --one-file-system "$root.building"
mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$root.building" "$mirror"
mv "$root.building" "$root"`;

/** Debian 12 is bookworm, 13 is trixie. */
export type Suite = 'bookworm' | 'trixie';

export interface DebianRoot {
  readonly suite: Suite;
  /** Beside those that every test needs. */
  readonly packages?: readonly string[];
}

/** The folder of a small Debian system with systemd and cloud-init, made once and kept under `.cache`. */
export async function debianRoot({ suite, packages = [] }: DebianRoot): Promise<string> {
  const included = [...PACKAGES, ...packages].join(',');
  const key = createHash('sha256').update(`${suite} ${included}`).digest('hex').slice(0, 12);
  const root = join(CACHE, `${suite}-${key}`);
  if (existsSync(root)) return root;
  await mkdir(CACHE, { recursive: true });
  const limit = ['--kill-after=10', String(BUILD_MS_MAX / 1000)];
  const build = ['sh', '-e', '-c', BUILD, 'sh', root, included, suite, await debianMirror()];
  // The kernel gives the lock back however the holder ends.
  await run('timeout', [...limit, 'flock', `${root}.lock`, ...build]);
  return root;
}

/** The mirror that this machine's own apt uses: it can be reached, which no fixed address is sure to be. */
async function debianMirror(): Promise<string> {
  const { stdout } = await run('apt-get', [
    'indextargets',
    '--format',
    '$(ORIGIN) $(REPO_URI)',
    'Created-By: Packages',
  ]);
  const main = stdout.split('\n').find((line) => line.startsWith('Debian ') && !line.includes('security'));
  return main?.slice('Debian '.length) ?? 'http://deb.debian.org/debian';
}

function run(program: string, args: readonly string[]) {
  return promisify(execFile)(program, args, { timeout: BUILD_MS_MAX + 20_000, maxBuffer: 2 ** 24 });
}
