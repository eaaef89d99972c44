import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { isErrno } from '../../src/base/errors.ts';

// libatomic1 is for Node, iproute2 for the address of IMDS, procps to send signals and look.
const PACKAGES = ['systemd', 'systemd-sysv', 'dbus', 'iproute2', 'ca-certificates', 'procps', 'libatomic1'];
const CACHE = new URL('../../.cache/roots/', import.meta.url).pathname;
// Takes about 20 s, with a kernel twice that; the rest is for a slow mirror and a busy machine.
const BUILD_MS_MAX = 400_000;

/** Debian 12 is bookworm, 13 is trixie. */
export type Suite = 'bookworm' | 'trixie';

export interface DebianRoot {
  readonly suite: Suite;
  /** Beside those that every test needs. */
  readonly packages?: readonly string[];
}

/**
 * The folder of a small Debian system with systemd, made once and kept under `.cache`.
 * It has its name only when it is whole, so a build that was broken off is never taken for one.
 */
export async function debianRoot({ suite, packages = [] }: DebianRoot): Promise<string> {
  const included = [...PACKAGES, ...packages];
  const key = createHash('sha256')
    .update(JSON.stringify([suite, included]))
    .digest('hex')
    .slice(0, 12);
  const root = join(CACHE, `${suite}-${key}`);
  if (await exists(root)) return root;

  await mkdir(CACHE, { recursive: true });
  await removeAbandoned();
  const building = await mkdtemp(join(CACHE, `building-${process.pid}-`));
  try {
    await run('mmdebstrap', [
      '--quiet',
      '--variant=minbase',
      `--include=${included.join(',')}`,
      suite,
      join(building, 'root'),
      await debianMirror(),
    ]);
    await rename(join(building, 'root'), root).catch((error: unknown) => {
      // Another run was faster; its root is as good.
      if (!isErrno(error, 'ENOTEMPTY', 'EEXIST')) throw error;
    });
  } finally {
    await rm(building, { recursive: true, force: true });
  }
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

async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const pid = /^building-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !(await exists(`/proc/${pid}`)))
      await rm(join(CACHE, name), { recursive: true, force: true });
  }
}

function run(program: string, args: readonly string[]) {
  return promisify(execFile)(program, args, {
    timeout: BUILD_MS_MAX,
    killSignal: 'SIGTERM',
    maxBuffer: 2 ** 24,
  });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
