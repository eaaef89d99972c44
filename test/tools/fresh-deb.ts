import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import * as z from 'zod';

import { isStale } from './stale.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SOURCES = ['src/**/*', 'packaging/**/*', 'systemd/**/*', 'package.json', 'package-lock.json'];
const BUILD_MS_MAX = 240_000;

/** The quickly made .deb for this machine, anew when a source is newer; test files that ask at once get the same. */
export async function freshDeb(): Promise<string> {
  await mkdir(`${ROOT}/.cache`, { recursive: true });
  const itself = fileURLToPath(import.meta.url);
  // The kernel gives the lock back however the holder ends.
  await run('flock', [`${ROOT}/.cache/deb.lock`, process.execPath, itself]);
  return debFile();
}

async function debFile(): Promise<string> {
  const manifest = z
    .object({ version: z.string() })
    .parse(JSON.parse(await readFile(`${ROOT}/package.json`, 'utf8')));
  const architecture = (await run('dpkg', ['--print-architecture'])).trim();
  return `${ROOT}/dist/evictd_${manifest.version}_${architecture}.deb`;
}

async function run(program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, {
    cwd: ROOT,
    timeout: BUILD_MS_MAX,
    maxBuffer: 2 ** 24,
  });
  return stdout;
}

if (import.meta.main && (await isStale(await debFile(), SOURCES))) {
  await run(process.execPath, ['packaging/package.ts', '--deb', '--fast']);
}
