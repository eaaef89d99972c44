import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../packaging/files/evictd', import.meta.url));
const BUNDLE = fileURLToPath(new URL('../../dist/evictd.js', import.meta.url));

/** Writes what the packages install as /usr/bin/evictd, for this Node and dist/evictd.js. */
export async function writeLauncher(file: string): Promise<void> {
  const text = await readFile(LAUNCHER, 'utf8');
  const placed = text
    .replaceAll('/usr/lib/evictd/node', process.execPath)
    .replaceAll('/usr/lib/evictd/evictd.js', BUNDLE);
  await writeFile(file, placed, { mode: 0o755 });
}
