import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

import type { PackageOptions } from './package.ts';

const BUILD_MS_MAX = 600_000;

/** Makes `evictd-VERSION-linux-ARCH.tar.xz` of the tree, to be unpacked in `/` where there is no package manager for it. */
export async function tarball(tree: string, options: PackageOptions): Promise<string> {
  const { version, architecture, epoch, fast, out } = options;
  const file = join(out, `evictd-${version}-linux-${architecture.debian}.tar.${fast ? 'gz' : 'xz'}`);
  const reproducible = [
    '--sort=name',
    `--mtime=@${epoch}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--format=gnu',
  ];
  const compress = `--use-compress-program=${fast ? 'gzip -1n' : 'xz -6 -T1'}`;
  await promisify(execFile)(
    'tar',
    ['--create', ...reproducible, compress, '--file', file, '-C', tree, 'usr'],
    {
      timeout: BUILD_MS_MAX,
    },
  );
  return file;
}
