import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtempDisposable, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import * as z from 'zod';

import { ensureDebianPackages } from '../test/tools/ensure-debian-packages.ts';
import { scriptOptions } from '../test/tools/script-options.ts';
import { buildBundle } from './build.ts';
import { describePackages } from './bundled-packages.ts';
import { debianPackage } from './debian-package.ts';
import { layOutGenerated } from './generated-files.ts';
import { type Program, layOutConfiguration, layOutProgram } from './install-tree.ts';
import { ARCHITECTURES, type Architecture, nodeRuntime } from './node-runtime.ts';
import { rpmPackage } from './rpm-package.ts';
import { softwareBill } from './sbom.ts';
import { tarball } from './tarball.ts';

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

const USAGE = `npm run package -- [--deb] [--rpm] [--tarball] [--arch amd64,arm64] [--fast] [--check-reproducible] [--out FOLDER]
Makes what users install, in dist: packages for Debian and Red Hat systems, tarballs, SBOMs, SHA256SUMS.`;
/** How each kind is made of the tree, which it may add to; answers the file. */
const KINDS: Readonly<Record<string, (tree: string, options: PackageOptions) => Promise<string>>> = {
  deb: debianPackage,
  rpm: rpmPackage,
  tarball,
};
/** Programs that make them, as Debian names their packages. */
const DEBIAN_PACKAGES = ['elfutils', 'rpm', 'xz-utils'];

async function main(args: readonly string[]): Promise<void> {
  const values = scriptOptions(
    USAGE,
    {
      deb: { type: 'boolean' },
      rpm: { type: 'boolean' },
      tarball: { type: 'boolean' },
      arch: { type: 'string' },
      out: { type: 'string', default: 'dist' },
      fast: { type: 'boolean', default: false },
      'check-reproducible': { type: 'boolean', default: false },
    },
    args,
  );
  const chosen = Object.entries(KINDS).filter(([kind]) => kind in values);
  const kinds = (chosen.length > 0 ? chosen : Object.entries(KINDS)).map(([, make]) => make);
  const architectures = chooseArchitectures(values.arch, values.fast);
  // Modes in the packages are those of the tree.
  process.umask(0o022);
  ensureDebianPackages(DEBIAN_PACKAGES);
  const common = { version: await version(), epoch: await sourceDateEpoch(), fast: values.fast };
  const makeAll = (out: string) => makePackages(kinds, architectures, { ...common, out });

  const out = resolve(ROOT, values.out);
  await mkdir(out, { recursive: true });
  const made = await makeAll(out);
  for (const { name, bytes } of made)
    console.log(`${join(values.out, name)}: ${(bytes / 1e6).toFixed(2)} MB`);
  await writeFile(join(out, 'SHA256SUMS'), made.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join(''));
  if (!values['check-reproducible']) return;
  await using again = await mkdtempDisposable(join(tmpdir(), 'evictd-again-'));
  const others = new Map((await makeAll(again.path)).map(({ name, sha256 }) => [name, sha256]));
  const different = made.filter(({ name, sha256 }) => others.get(name) !== sha256).map(({ name }) => name);
  if (different.length > 0) throw new Error(`made again, these are different: ${different.join(', ')}`);
  console.log('made again, all are the same');
}

interface Made {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

async function makePackages(
  kinds: readonly (typeof KINDS)[string][],
  architectures: readonly Architecture[],
  common: Omit<PackageOptions, 'architecture'>,
): Promise<readonly Made[]> {
  const bundle = await buildBundle();
  const packages = await describePackages(bundle.packages);
  const files: string[] = [];
  for (const architecture of architectures) {
    const program = { bundle, packages, node: await nodeRuntime(architecture) };
    const options = { ...common, architecture };
    for (const make of kinds) files.push(await inTree(program, options, make));
    files.push(await softwareBill(program, options));
  }
  return Promise.all(
    files.map(async (file) => {
      const bytes = await readFile(file);
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      return { name: basename(file), bytes: bytes.length, sha256 };
    }),
  );
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

/** Each package starts with a fresh tree. */
async function inTree(
  program: Program,
  options: PackageOptions,
  make: (typeof KINDS)[string],
): Promise<string> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'evictd-package-'));
  const tree = join(folder.path, 'tree');
  await mkdir(tree);
  await layOutProgram(tree, program);
  await layOutGenerated(tree, options);
  await layOutConfiguration(tree);
  return await make(tree, options);
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
