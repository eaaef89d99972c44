import { hash } from 'node:crypto';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  readlink,
  rm,
  statfs,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A folder for one test, removed at its end. */
export interface TestFolder extends AsyncDisposable {
  readonly path: string;
}

/** `within`: default is a place on a disk. */
export async function testFolder(within?: string): Promise<TestFolder> {
  const path = await mkdtemp(join(within ?? (await diskFolder()), 'evictd-test-'));
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}

const TMPFS = 0x01021994;
const CACHE = fileURLToPath(new URL('../../.cache', import.meta.url));

/** Files on tmpfs are never taken as unchanged, and most tests are about a disk. */
async function diskFolder(): Promise<string> {
  if ((await statfs(tmpdir())).type !== TMPFS) return tmpdir();
  await mkdir(CACHE, { recursive: true });
  return CACHE;
}

export type TreeEntry =
  | {
      readonly kind: 'file';
      readonly content: string | Buffer;
      readonly mode?: number;
      readonly mtimeS?: number;
    }
  | { readonly kind: 'folder'; readonly mode?: number; readonly mtimeS?: number }
  | { readonly kind: 'link'; readonly target: string };

/** Writes entries by relative path (latin1 for names that aren't text); parents are made. */
export async function writeTree(root: string, tree: Readonly<Record<string, TreeEntry>>): Promise<void> {
  const at = (path: string) => Buffer.from(`${root}/${path}`, 'latin1');
  const entries = Object.entries(tree);
  for (const [path, entry] of entries) {
    await mkdir(entry.kind === 'folder' ? at(path) : dirname(`${root}/${path}`), { recursive: true });
    if (entry.kind === 'link') await symlink(entry.target, at(path));
    if (entry.kind !== 'file') continue;
    await writeFile(at(path), entry.content);
    if (entry.mode !== undefined) await chmod(at(path), entry.mode);
    if (entry.mtimeS !== undefined) await utimes(at(path), entry.mtimeS, entry.mtimeS);
  }
  // What is inside comes first, since it changes the folder's time.
  for (const [path, entry] of entries.toReversed()) {
    if (entry.kind !== 'folder') continue;
    if (entry.mode !== undefined) await chmod(at(path), entry.mode);
    if (entry.mtimeS !== undefined) await utimes(at(path), entry.mtimeS, entry.mtimeS);
  }
}

/**
 * Everything below a folder that a restore has to bring back, by path in latin1, so that odd bytes show.
 * Times in whole microseconds: Node can't set them finer.
 */
export async function readTree(root: string): Promise<Record<string, string>> {
  const tree: Record<string, string> = {};
  const walk = async (path: Buffer): Promise<void> => {
    for (const name of await readdir(path, { encoding: 'buffer' })) {
      const full = Buffer.concat([path, Buffer.from('/'), name]);
      const stats = await lstat(full, { bigint: true });
      const key = full.toString('latin1').slice(Buffer.byteLength(root) + 1);
      const facts = `${(Number(stats.mode) & 0o7777).toString(8)} ${stats.mtimeNs / 1000n}`;
      if (stats.isDirectory()) {
        tree[key] = `folder ${facts}`;
        await walk(full);
      } else if (stats.isSymbolicLink()) {
        tree[key] = `link ${await readlink(full)}`;
      } else {
        tree[key] = `file ${facts} ${shown(await readFile(full))}`;
      }
    }
  };
  await walk(Buffer.from(root));
  return tree;
}

/** Overwrites a file so that its times show it, however coarse the kernel's clock is. */
export async function changeFile(path: string, content: string | Buffer): Promise<void> {
  const { ctimeNs } = await lstat(path, { bigint: true });
  do await writeFile(path, content);
  while ((await lstat(path, { bigint: true })).ctimeNs === ctimeNs);
}

function shown(content: Buffer): string {
  const head = content.subarray(0, 40).toString('latin1');
  return content.length <= 40 ? head : `${head}… ${content.length} ${hash('sha256', content)}`;
}

/** Content whose chunks all differ, whatever their size. */
export function pattern(bytes: number, seed = 1): Buffer {
  const buffer = Buffer.alloc(bytes, seed);
  for (let at = 0; at + 4 <= bytes; at += 4096) buffer.writeUInt32LE((at ^ seed) >>> 0, at);
  return buffer;
}
