import { glob, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Is the file missing, or one of its sources (patterns from the root of the project) newer? */
export async function isStale(file: string, sources: readonly string[]): Promise<boolean> {
  const builtAt = await modifiedAt(file);
  if (builtAt === undefined) return true;
  for await (const source of glob([...sources], { cwd: ROOT })) {
    if (((await modifiedAt(`${ROOT}/${source}`)) ?? 0) > builtAt) return true;
  }
  return false;
}

async function modifiedAt(file: string): Promise<number | undefined> {
  const stats = await stat(file).catch(() => undefined);
  return stats?.mtimeMs;
}
