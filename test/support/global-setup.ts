import { glob, rm, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { buildBundle } from '../../packaging/build.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Tests that start dist/evictd.js must not pass on an old one, so it is built when a source is newer. */
export async function setup(): Promise<void> {
  const bundle = `${ROOT}/dist/evictd.js`;
  if (!(await isStale(bundle))) return;
  try {
    await buildBundle();
  } catch (error) {
    await rm(bundle, { force: true });
    // Most tests need no bundle, so they shall run while the code doesn't compile as a whole.
    console.error('dist/evictd.js could not be built, so tests that start it will fail:', error);
  }
}

async function isStale(bundle: string): Promise<boolean> {
  const builtAt = await modifiedAt(bundle);
  if (builtAt === undefined) return true;
  for await (const file of glob(['src/**/*.ts', 'packaging/build.ts', 'package-lock.json'], { cwd: ROOT })) {
    if (((await modifiedAt(`${ROOT}/${file}`)) ?? 0) > builtAt) return true;
  }
  return false;
}

async function modifiedAt(file: string): Promise<number | undefined> {
  const stats = await stat(file).catch(() => undefined);
  return stats?.mtimeMs;
}
