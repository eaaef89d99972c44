import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Writes the same package as `deb` under a later version; answers that version. */
export async function newerDeb(deb: string, output: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-newer-'));
  try {
    const tree = join(folder, 'tree');
    const run = (...args: readonly string[]) => promisify(execFile)('dpkg-deb', args, { timeout: 60_000 });
    await run('--raw-extract', deb, tree);
    const control = join(tree, 'DEBIAN/control');
    const text = await readFile(control, 'utf8');
    await writeFile(control, text.replace(/^Version: .*$/m, '$&+next'));
    await run('--root-owner-group', '-Znone', '--build', tree, output);
    return /^Version: (.*)$/m.exec(await readFile(control, 'utf8'))?.[1] ?? '';
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
