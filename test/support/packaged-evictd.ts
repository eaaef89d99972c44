import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../packaging/files/evictd', import.meta.url));
const BUNDLE = fileURLToPath(new URL('../../dist/evictd.js', import.meta.url));

/**
 * Writes what the packages install as /usr/bin/evictd, for this Node and dist/evictd.js. `isOpen`: what measures it may
 * come in by NODE_OPTIONS, which it otherwise removes.
 */
export async function writeLauncher(file: string, { isOpen = false } = {}): Promise<void> {
  const text = await readFile(LAUNCHER, 'utf8');
  const placed = text
    .replaceAll('/usr/lib/evictd/node', process.execPath)
    .replaceAll('/usr/lib/evictd/evictd.js', BUNDLE)
    .replace('unset NODE_OPTIONS ', isOpen ? 'unset ' : 'unset NODE_OPTIONS ');
  await writeFile(file, placed, { mode: 0o755 });
}
