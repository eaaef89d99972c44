import { execFileSync } from 'node:child_process';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build, type Metafile } from 'esbuild';
import * as z from 'zod';

import { leanBuiltins, withoutHttp2 } from './lean-builtins.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUTPUT = 'dist/evictd.js';

/** Packages that a bundled package only asks for where somebody installed them, and can do without. */
const OPTIONAL_IMPORTS: ReadonlySet<string> = new Set([
  // proxy-agent-negotiate (below the Azure SDK): proxies with Kerberos; evictd goes through no proxy.
  'kerberos',
]);

const DEFINES = {
  // The Azure SDK asks of each request whether its body is a form, and Node would load its own undici for that.
  FormData: 'undefined',
  // undici is built like the one in Node, without its second, experimental parser.
  esbuildDetection: 'true',
};

export interface Bundle {
  readonly file: string;
  readonly bytes: number;
  /** Folders of the packages whose code is in it, relative to the repository. */
  readonly packages: readonly string[];
}

/** Bundles src/main.ts with all its packages into one file that runs with plain `node dist/evictd.js`. */
export async function buildBundle(): Promise<Bundle> {
  const { version } = z
    .object({ version: z.string() })
    .parse(JSON.parse(await readFile(`${ROOT}/package.json`, 'utf8')));
  const identityThread = await buildThread('store/azure/identity-thread.ts');
  const engineThread = await buildThread('worker/engine-thread.ts');
  const result = await build({
    absWorkingDir: ROOT,
    entryPoints: ['src/main.ts'],
    outfile: OUTPUT,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    // Node 24 has it, esbuild's table doesn't say so. Its replacement is wrong in a loop: an error of one round is
    // thrown again at the end of every later one, however well that went.
    supported: { using: true },
    // Without splitting, a dynamic import stays in this file but its code still runs only when it is asked for.
    splitting: false,
    minifyWhitespace: true,
    minifySyntax: true,
    // Names of classes and functions are part of error messages and stack traces. Keeping them beside shorter ones
    // defines a property each time a function is made, also in each poll.
    minifyIdentifiers: false,
    // Licences of what is bundled go beside it.
    legalComments: 'external',
    sourcemap: false,
    metafile: true,
    write: false,
    logLevel: 'warning',
    plugins: [withoutHttp2(), leanBuiltins()],
    define: {
      ...DEFINES,
      EVICTD_VERSION: JSON.stringify(version),
      EVICTD_COMMIT: JSON.stringify(commit()),
      // By far the longest, and rarely needed: as plain texts they would take their length twice for as long as we run.
      EVICTD_IDENTITY_THREAD: JSON.stringify(gzipSync(identityThread.text).toString('base64')),
      EVICTD_ENGINE_THREAD: JSON.stringify(gzipSync(engineThread.text).toString('base64')),
    },
    banner: {
      // Packages in CommonJS form call require() for Node's own modules, which an ES module doesn't have.
      js: [
        '#!/usr/bin/env node',
        "import { createRequire as __evictdCreateRequire } from 'node:module';",
        'const require = __evictdCreateRequire(import.meta.url);',
      ].join('\n'),
    },
  });
  const foreign = foreignImports(result.metafile);
  if (foreign.length > 0)
    throw new Error(`the bundle still imports packages that it should contain: ${foreign.join(', ')}`);
  await mkdir(`${ROOT}/dist`, { recursive: true });
  for (const { path, text } of result.outputFiles) {
    // Renamed into place, so that a program which starts it meanwhile never sees half of it.
    const temporary = `${path}.${process.pid}`;
    await writeFile(temporary, path.endsWith('.js') ? inAscii(text) : text, {
      mode: path.endsWith('.js') ? 0o755 : 0o644,
    });
    await rename(temporary, path);
  }
  const output = result.metafile.outputs[OUTPUT];
  const inputs = { ...output?.inputs, ...identityThread.inputs, ...engineThread.inputs };
  return { file: `${ROOT}/${OUTPUT}`, bytes: output?.bytes ?? 0, packages: packagesOf(inputs) };
}

/**
 * esbuild leaves regular expressions as they are, and a single character beyond Latin-1 makes V8 keep the whole program
 * with two bytes for each character.
 */
function inAscii(program: string): string {
  return program.replaceAll(
    /[^\0-\x7f]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** `node_modules/a/node_modules/@b/c/index.js` is of the package `node_modules/a/node_modules/@b/c`. */
function packagesOf(inputs: Inputs): readonly string[] {
  const folders = Object.entries(inputs).flatMap(([path, { bytesInOutput }]) =>
    bytesInOutput === 0 ? [] : (/^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []),
  );
  return [...new Set(folders)].toSorted();
}

type Inputs = Metafile['outputs'][string]['inputs'];

/** The program of a thread as a text: so it starts in no time, and the bundle stays one file. */
async function buildThread(entry: string): Promise<{ readonly text: string; readonly inputs: Inputs }> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [`src/checkpoint/${entry}`],
    bundle: true,
    platform: 'node',
    // What a worker evaluates is a script, not a module.
    format: 'cjs',
    target: 'node24',
    // As in the main program.
    supported: { using: true },
    // The SDK loads it for listings in a format that evictd doesn't ask for.
    external: ['apache-arrow'],
    minify: true,
    plugins: [withoutHttp2()],
    define: DEFINES,
    metafile: true,
    write: false,
    logLevel: 'warning',
  });
  const [output] = Object.values(metafile.outputs);
  return { text: outputFiles.map(({ text }) => text).join(''), inputs: output?.inputs ?? {} };
}

/** What the bundle imports at run time and Node doesn't bring along. */
function foreignImports({ outputs }: Metafile): readonly string[] {
  const imported = Object.values(outputs).flatMap((output) =>
    output.imports.filter(({ external }) => external === true),
  );
  const names = new Set(
    imported.map(({ path }) => path).filter((path) => !isBuiltin(path) && !OPTIONAL_IMPORTS.has(path)),
  );
  return [...names].toSorted();
}

function isBuiltin(path: string): boolean {
  return path.startsWith('node:') || builtinModules.includes(path);
}

/** The commit that is built; a tarball without repository is `unknown`. */
function commit(): string {
  try {
    const hash = git('rev-parse', '--short=12', 'HEAD');
    return git('status', '--porcelain', '--', 'src', 'package-lock.json') === '' ? hash : `${hash}-dirty`;
  } catch {
    // Neither git nor a repository is needed to build.
    return 'unknown';
  }
}

function git(...args: string[]): string {
  return execFileSync('git', args, {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 10_000,
  }).trim();
}

if (import.meta.main) {
  const { bytes } = await buildBundle();
  console.log(`${OUTPUT}: ${(bytes / 1e6).toFixed(2)} MB`);
}
