import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstat, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { filesOf, install, installCompressed, stamp } from './install-tree.ts';
import type { PackageOptions } from './package.ts';

const FILES = fileURLToPath(new URL('debian/', import.meta.url));
const MAINTAINER = 'The evictd authors <evictd@noreply.invalid>';
const BUILD_MS_MAX = 600_000;

/** Makes `evictd_VERSION_ARCH.deb` of the tree, to which it adds what only Debian has. */
export async function debianPackage(tree: string, options: PackageOptions): Promise<string> {
  const { version, architecture, epoch, fast, out } = options;
  const doc = join(tree, 'usr/share/doc/evictd');
  await installCompressed(changelog(options), join(doc, 'changelog.gz'));
  await install(join(FILES, 'lintian-overrides'), join(tree, 'usr/share/lintian/overrides/evictd'), 0o644);

  const files = await filesOf(tree);
  const control = join(tree, 'DEBIAN');
  await mkdir(control);
  await writeFile(join(control, 'control'), await controlFile(options, files));
  await writeFile(join(control, 'conffiles'), '/etc/evictd/config.yaml\n');
  await writeFile(join(control, 'md5sums'), await md5sums(tree, files));
  for (const script of ['postinst', 'prerm', 'postrm'])
    await install(join(FILES, script), join(control, script), 0o755);

  await stamp(tree, epoch);

  const file = join(out, `evictd_${version}_${architecture.debian}.deb`);
  // Any system that still gets updates unpacks xz; the quick one is for tests.
  const compression = fast ? ['-Zgzip', '-z1'] : ['-Zxz'];
  await promisify(execFile)('dpkg-deb', ['--root-owner-group', ...compression, '--build', tree, file], {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
    timeout: BUILD_MS_MAX,
  });
  return file;
}

function changelog({ version, epoch }: PackageOptions): string {
  const date = new Date(epoch * 1000).toUTCString().replace('GMT', '+0000');
  return `evictd (${version}) stable; urgency=medium\n\n  * Release ${version}.\n\n -- ${MAINTAINER}  ${date}\n`;
}

async function controlFile(
  { version, architecture }: PackageOptions,
  files: readonly string[],
): Promise<string> {
  const sizes = await Promise.all(files.map(async (file) => (await lstat(file)).size));
  const kibibytes = sizes.reduce((sum, size) => sum + Math.ceil(size / 1024), 0);
  return [
    'Package: evictd',
    `Version: ${version}`,
    `Architecture: ${architecture.debian}`,
    `Maintainer: ${MAINTAINER}`,
    `Installed-Size: ${kibibytes}`,
    // What the packaged Node is linked with; systemd for the unit, systemd-notify and sysusers.
    'Depends: libatomic1, libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 5), init-system-helpers (>= 1.51), systemd',
    'Section: admin',
    'Priority: optional',
    'Description: drains and checkpoints an Azure Spot VM before it is evicted',
    ' evictd runs inside an Azure Spot VM and polls its Scheduled Events. When the VM',
    ' is to be evicted it runs drain hooks, uploads checkpoints to Azure Blob Storage',
    ' and acknowledges the event, all inside the notice of at most 30 seconds. The',
    ' replacement VM restores and goes on.',
    ' .',
    ' The package brings its own Node.js.',
    '',
  ].join('\n');
}

/** Without configuration files, which are there to be edited. */
async function md5sums(tree: string, files: readonly string[]): Promise<string> {
  const lines = files.map(async (file) => {
    const path = relative(tree, file);
    if (path.startsWith('etc/') || (await lstat(file)).isSymbolicLink()) return '';
    return `${createHash('md5')
      .update(await readFile(file))
      .digest('hex')}  ${path}\n`;
  });
  return (await Promise.all(lines)).join('');
}
