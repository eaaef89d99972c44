// Makes what users install, in dist: packages for Debian and Red Hat systems, tarballs, SBOMs, SHA256SUMS.
// node packaging/package.ts [--deb] [--rpm] [--tarball] [--arch amd64,arm64] [--fast]
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import * as z from 'zod';

import { ensureDebianPackages } from '../test/tools/ensure-debian-packages.ts';
import { buildBundle } from './build.ts';
import { describePackages } from './bundled-packages.ts';
import { debianPackage } from './debian-package.ts';
import { type Program, layOutConfiguration, layOutProgram } from './install-tree.ts';
import { ARCHITECTURES, type Architecture, nodeRuntime } from './node-runtime.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

export interface PackageOptions {
  readonly version: string;
  readonly architecture: Architecture;
  /** Time that everything in the package carries, in seconds since 1970. */
  readonly epoch: number;
  /** Compress little: for tests. */
  readonly fast: boolean;
  /** Folder that gets the file. */
  readonly out: string;
}

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      deb: { type: 'boolean' },
      fast: { type: 'boolean', default: false },
      arch: { type: 'string' },
    },
  });
  // Modes in the packages are those of the tree.
  process.umask(0o022);
  const { missing } = ensureDebianPackages(['elfutils']);
  if (missing.length > 0) console.error(`maybe missing: ${missing.join(', ')}`);
  const architectures = chooseArchitectures(values.arch, values.fast);
  const out = join(ROOT, 'dist');
  const bundle = await buildBundle();
  const packages = await describePackages(bundle.packages);
  for (const architecture of architectures) {
    const program = { bundle, packages, node: await nodeRuntime(architecture) };
    const options = {
      version: await version(),
      architecture,
      epoch: await sourceDateEpoch(),
      fast: values.fast,
      out,
    };
    const file = await inTree(program, (tree) => debianPackage(tree, options));
    console.log(`${basename(file)}: ${((await stat(file)).size / 1e6).toFixed(1)} MB`);
  }
}

function chooseArchitectures(list: string | undefined, fast: boolean): readonly Architecture[] {
  // What is made quickly is made to be tried on this machine.
  if (list === undefined) return ARCHITECTURES.filter(({ node }) => !fast || node === process.arch);
  return list.split(',').map((name) => {
    const found = ARCHITECTURES.find(({ debian }) => debian === name);
    if (found !== undefined) return found;
    throw new Error(`--arch ${name}: not one of ${ARCHITECTURES.map(({ debian }) => debian).join(', ')}`);
  });
}

async function inTree<T>(program: Program, run: (tree: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-package-'));
  const tree = join(folder, 'tree');
  try {
    await mkdir(tree);
    await layOutProgram(tree, program);
    await layOutConfiguration(tree);
    return await run(tree);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function version(): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  return z.object({ version: z.string() }).parse(manifest).version;
}

/** SOURCE_DATE_EPOCH as reproducible-builds.org defines it; else the time of the commit, else of package.json. */
async function sourceDateEpoch(): Promise<number> {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined) {
    if (!/^\d{1,11}$/.test(given)) throw new Error(`SOURCE_DATE_EPOCH is ${given}, not a number of seconds`);
    return Number(given);
  }
  try {
    const git = ['log', '-1', '--format=%ct'];
    return Number(
      execFileSync('git', git, { cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'], timeout: 10_000 }),
    );
  } catch {
    // Neither git nor a repository is needed to build.
    return Math.floor((await stat(join(ROOT, 'package.json'))).mtimeMs / 1000);
  }
}

await main(process.argv.slice(2));
