import { chmod, copyFile, lutimes, mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

import type { Bundle } from './build.ts';
import type { NodeRuntime } from './node-runtime.ts';
import type { BundledPackage } from './bundled-packages.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const UNITS = /\.(?:service|target|slice|socket|timer)$/;

export interface Program {
  readonly bundle: Bundle;
  readonly packages: readonly BundledPackage[];
  readonly node: NodeRuntime;
}

/** Lays out below `root` what every kind of package installs, apart from `/etc/evictd`. */
export async function layOutProgram(root: string, { bundle, packages, node }: Program): Promise<void> {
  const lib = join(root, 'usr/lib/evictd');
  await install(node.program, join(lib, 'node'), 0o755);
  await install(bundle.file, join(lib, 'evictd.js'), 0o644);
  await install(join(ROOT, 'packaging/files/evictd'), join(lib, 'evictd'), 0o755);
  await mkdir(join(root, 'usr/bin'));
  await symlink('../lib/evictd/evictd', join(root, 'usr/bin/evictd'));

  const systemd = join(ROOT, 'systemd');
  for (const name of await readdir(systemd)) {
    if (UNITS.test(name))
      await install(join(systemd, name), join(root, 'usr/lib/systemd/system', name), 0o644);
  }
  await install(join(systemd, 'evictd.sysusers'), join(root, 'usr/lib/sysusers.d/evictd.conf'), 0o644);

  const doc = join(root, 'usr/share/doc/evictd');
  await install(join(ROOT, 'README.md'), join(doc, 'README.md'), 0o644);
  await install(join(ROOT, 'systemd/README.md'), join(doc, 'systemd.md'), 0o644);
  await install(join(ROOT, 'systemd/THREATS.md'), join(doc, 'THREATS.md'), 0o644);
  for (const name of ['control-socket.md', 'format.md']) {
    await install(join(ROOT, 'packaging/docs', name), join(doc, 'docs', name), 0o644);
  }
  const examples = join(ROOT, 'packaging/examples');
  for (const name of await readdir(examples)) {
    await install(join(examples, name), join(doc, 'examples', name), 0o755);
  }
  const hooks = join(ROOT, 'packaging/hooks');
  for (const name of await readdir(hooks)) {
    if (name === 'README.md') await install(join(hooks, name), join(doc, 'hooks.md'), 0o644);
    else await install(join(hooks, name), join(root, 'usr/share/evictd/hooks', name), 0o755);
  }
  await writeFile(join(doc, 'copyright'), await copyright(packages, node));
}

/** `/etc/evictd`, where the administrator writes. */
export async function layOutConfiguration(root: string): Promise<void> {
  const etc = join(root, 'etc/evictd');
  await install(join(ROOT, 'packaging/files/config.yaml'), join(etc, 'config.yaml'), 0o644);
  for (const name of ['conf.d', 'hooks.d']) await mkdir(join(etc, name));
}

/** Whatever umask and checkout made of the modes, folders are 0755 and files 0644, or 0755 where they are programs. */
export async function install(source: string, target: string, mode: number): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await copyFile(source, target);
  await chmod(target, mode);
}

/** Compressed like `gzip -9n`: no name and no time, so that it is always the same. */
export async function installCompressed(text: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, await promisify(gzip)(text, { level: 9 }));
}

/** Everything below `root` that is not a folder, in order of the path. */
export async function filesOf(root: string): Promise<readonly string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name))
    .toSorted();
}

/** Sets the time of everything below `root`, in seconds since 1970: packages record it. */
export async function stamp(root: string, epoch: number): Promise<void> {
  const names = await readdir(root, { recursive: true });
  for (const name of ['', ...names]) await lutimes(join(root, name), epoch, epoch);
}

/** evictd's own licence, Node's, and those of all packages in the bundle. */
async function copyright(packages: readonly BundledPackage[], node: NodeRuntime): Promise<string> {
  const parts = [
    ['evictd', await readFile(join(ROOT, 'LICENSE'), 'utf8')],
    [`Node.js ${node.version} (/usr/lib/evictd/node)`, await readFile(node.licence, 'utf8')],
    ...packages.map(({ name, version, licenceText }) => [
      `${name} ${version} (in /usr/lib/evictd/evictd.js)`,
      licenceText,
    ]),
  ];
  return parts
    .map(([title, text = '']) => `${title}\n${'='.repeat(title?.length ?? 0)}\n\n${text.trim()}\n`)
    .join('\n\n');
}
