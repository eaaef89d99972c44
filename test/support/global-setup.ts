import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { buildBundle } from '../../packaging/build.ts';
import { isStale } from '../tools/stale.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Tests that start dist/evictd.js must not pass on an old one, so it is built when a source is newer. */
export async function setup(): Promise<void> {
  const bundle = `${ROOT}/dist/evictd.js`;
  if (!(await isStale(bundle, ['src/**/*.ts', 'packaging/build.ts', 'package-lock.json']))) return;
  try {
    await buildBundle();
  } catch (error) {
    await rm(bundle, { force: true });
    // Most tests need no bundle, so they shall run while the code doesn't compile as a whole.
    console.error('dist/evictd.js could not be built, so tests that start it will fail:', error);
  }
}
