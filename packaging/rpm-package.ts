import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { stamp } from './install-tree.ts';
import type { PackageOptions } from './package.ts';

const SPEC = fileURLToPath(new URL('rpm/evictd.spec', import.meta.url));
const PRESET = `# Installing evictd is asking for it; that folders are filled from the store is the administrator's decision.
enable evictd.service
disable evictd-restore.service
`;
const BUILD_MS_MAX = 600_000;

/** Makes `evictd-VERSION.ARCH.rpm` of the tree, to which it adds what only Red Hat systems need. */
export async function rpmPackage(tree: string, options: PackageOptions): Promise<string> {
  const { version, architecture, epoch, fast, out } = options;
  const preset = join(tree, 'usr/lib/systemd/system-preset/50-evictd.preset');
  await mkdir(dirname(preset));
  await writeFile(preset, PRESET);
  await stamp(tree, epoch);

  const name = `evictd-${version}.${architecture.rpm}.rpm`;
  const defines: Readonly<Record<string, string>> = {
    evictd_version: version,
    evictd_tree: tree,
    _topdir: join(dirname(tree), 'rpmbuild'),
    _rpmdir: out,
    _rpmfilename: name,
    // One thread: how many there are shows in the bytes.
    _binary_payload: fast ? 'w1.gzdio' : 'w6.xzdio',
    _buildhost: 'reproducible',
    use_source_date_epoch_as_buildtime: '1',
    clamp_mtime_to_source_date_epoch: '1',
  };
  const args = Object.entries(defines).flatMap(([key, value]) => ['--define', `${key} ${value}`]);
  await promisify(execFile)('rpmbuild', ['-bb', '--target', `${architecture.rpm}-linux`, ...args, SPEC], {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
    timeout: BUILD_MS_MAX,
  });
  return join(out, name);
}
