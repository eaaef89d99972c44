import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import * as z from 'zod';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CACHE = join(ROOT, '.cache/node');
const DOWNLOAD_MS_MAX = 300_000;

/** A processor under the name that each of those concerned gives it. */
export interface Architecture {
  readonly debian: 'amd64' | 'arm64';
  readonly rpm: string;
  /** In `process.arch` and in the names of the Node packages. */
  readonly node: string;
}

export const ARCHITECTURES: readonly Architecture[] = [
  { debian: 'amd64', rpm: 'x86_64', node: 'x64' },
  { debian: 'arm64', rpm: 'aarch64', node: 'arm64' },
];

/** The Node of one architecture: its npm package, unpacked, with the program stripped of its symbols. */
export interface NodeRuntime {
  readonly name: string;
  readonly version: string;
  readonly integrity: string;
  readonly program: string;
  readonly licence: string;
}

const Lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({ version: z.string().optional(), integrity: z.string().optional() }),
  ),
});

/**
 * The Node that the lockfile names, for this machine or another: npm installs only the one of the machine it runs on,
 * so that another is fetched as a tarball and compared with the lockfile's hash.
 */
export async function nodeRuntime({ node }: Architecture): Promise<NodeRuntime> {
  const name = `node-linux-${node}`;
  const { packages } = Lockfile.parse(JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')));
  const { version, integrity } = packages[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined)
    throw new Error(`package-lock.json has no ${name} with version and integrity; run npm install`);
  const folder = join(CACHE, `${name}-${version}`);
  if (!(await exists(folder))) await make(folder, name, `${name}@${version}`, integrity);
  return { name, version, integrity, program: join(folder, 'node'), licence: join(folder, 'LICENSE') };
}

/** The folder has its name only when it is whole. */
async function make(folder: string, name: string, specifier: string, integrity: string): Promise<void> {
  await mkdir(CACHE, { recursive: true });
  const work = await mkdtemp(join(CACHE, 'unpacking-'));
  try {
    const installed = join(ROOT, 'node_modules', name);
    const source = (await exists(installed)) ? installed : await download(work, specifier, integrity);
    const made = join(work, 'made');
    await mkdir(made);
    // From elfutils, since the strip of binutils knows only its own architecture.
    await run(work, 'eu-strip', ['-o', join(made, 'node'), join(source, 'bin/node')]);
    await chmod(join(made, 'node'), 0o755);
    await copyFile(join(source, 'LICENSE'), join(made, 'LICENSE'));
    // Two builds at the same time make the same: whoever comes second takes the first one's.
    await rename(made, folder).catch(async (error: unknown) => {
      if (!(await exists(folder))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function download(work: string, specifier: string, integrity: string): Promise<string> {
  const { stdout } = await run(work, 'npm', ['pack', '--silent', specifier]);
  const tarball = join(work, stdout.trim());
  const hash = createHash('sha512')
    .update(await readFile(tarball))
    .digest('base64');
  if (`sha512-${hash}` !== integrity)
    throw new Error(`${specifier} from the registry is sha512-${hash}, but the lockfile says ${integrity}`);
  await run(work, 'tar', ['-xzf', tarball, 'package/bin/node', 'package/LICENSE']);
  return join(work, 'package');
}

function run(cwd: string, program: string, args: readonly string[]) {
  return promisify(execFile)(program, args, { cwd, timeout: DOWNLOAD_MS_MAX });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
