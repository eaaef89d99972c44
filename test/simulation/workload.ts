import { createHash } from 'node:crypto';

import type { Agenda } from './agenda.ts';
import type { Disk } from './disk.ts';
import type { Inode } from './inode.ts';
import type { Random } from './random.ts';

/** What lies in a folder, by path: all that a restore has to bring back, in one line each. */
export type Tree = ReadonlyMap<string, string>;

/** The files of one set, and how they were at each moment. */
export interface Workload {
  readonly set: string;
  readonly path: string;
  /** In the order of time; the first is of the beginning. */
  readonly versions: { readonly at: number; readonly tree: Tree }[];
  /** A program at work on the files: one change. */
  work(): void;
  /** Another program writes a large file anew, and then to its ends again and again. */
  begin(): void;
  goOn(): void;
  /** The disk was changed by something else. */
  note(): void;
  /** How it was at moments up to `madeAt`, and (again) at one from `since` to `until`. */
  versionsOf(span: Span): readonly Tree[];
}

export interface Span {
  readonly madeAt: number;
  readonly since: number;
  readonly until: number;
}

const NAMES = ['a', 'b', 'c/d', 'c/e', 'f.bin'] as const;
const LARGE = 'f.bin';
const LARGE_BYTES = 20_000;

export interface WorkloadOptions {
  readonly set: string;
  /** At the beginning, beside those that are there. */
  readonly files?: number;
  /** How likely all is on the platter after a change. */
  readonly flushes?: number;
  /** Of the disk that this one was copied from. */
  readonly versions?: Workload['versions'];
}

export function createWorkload(
  { set, files = 4, flushes = 1, versions = [] }: WorkloadOptions,
  { disk, agenda, random }: { readonly disk: Disk; readonly agenda: Agenda; readonly random: Random },
): Workload {
  const path = `/data/${set}`;
  for (const folder of ['/data', path, `${path}/c`])
    if (disk.inode(folder) === undefined) disk.mkdir(folder, 0o755);
  const full = (name: string) => `${path}/${name}`;

  function fill(name: string, bytes: number, at: number): void {
    const fd = disk.open(full(name), disk.inode(full(name)) === undefined ? 'w' : 'a', 0o644);
    const content = Buffer.alloc(bytes);
    for (let byte = 0; byte < bytes; byte += 512)
      content.writeUInt32LE(random.whole(0, 2 ** 31), Math.min(byte, bytes - 4));
    disk.write(fd, content, 0, bytes, at);
    disk.close(fd);
  }

  function work(): void {
    const name = random.pick(NAMES);
    const file = disk.inode(full(name));
    const size = random.pick([4, 100, 4096, 5000, 20_000]);
    const way = random.whole(0, 6);
    if (file === undefined || file.kind !== 'file') {
      if (file !== undefined) disk.remove(full(name));
      if (random.chance(0.1)) disk.symlink('somewhere', full(name));
      else fill(name, size, 0);
    } else if (way === 0) disk.remove(full(name));
    else if (way === 1) {
      // As programs do it that care: beside, then renamed.
      fill('new.tmp', size, 0);
      disk.rename(full('new.tmp'), full(name));
    } else if (way === 2) fill(name, size, file.content.length);
    else if (way === 3 && file.content.length >= 4) {
      // In place, same size: only the times tell.
      fill(name, 4, random.whole(0, file.content.length - 4));
    } else if (way === 4) disk.rename(full(name), full(random.pick(NAMES)));
    else if (way === 5) truncate(full(name), Math.floor(file.content.length / 2));
    else fill(name, Math.max(4, file.content.length), 0);
  }

  function truncate(file: string, size: number): void {
    const fd = disk.open(file, 'a');
    disk.truncate(fd, size);
    disk.close(fd);
  }

  const workload: Workload = {
    set,
    path,
    versions: [...versions],
    work() {
      work();
      if (random.chance(flushes)) disk.flush();
      workload.note();
    },
    begin() {
      if (disk.inode(full(LARGE)) !== undefined) disk.remove(full(LARGE));
      fill(LARGE, LARGE_BYTES, 0);
      workload.note();
    },
    goOn() {
      if (disk.inode(full(LARGE))?.content.length !== LARGE_BYTES) return;
      fill(LARGE, 4, random.pick([0, LARGE_BYTES - 4]));
      workload.note();
    },
    note() {
      const tree = treeOf(disk, path);
      const last = workload.versions.at(-1);
      if (last === undefined || !sameTree(last.tree, tree))
        workload.versions.push({ at: agenda.now(), tree });
    },
    versionsOf({ madeAt, since, until }) {
      const { versions: all } = workload;
      const later = all.filter(({ at }, index) => at <= until && (all[index + 1]?.at ?? Infinity) > since);
      return all
        .filter(({ at, tree }) => at <= madeAt && later.some((one) => sameTree(one.tree, tree)))
        .map(({ tree }) => tree);
    },
  };
  for (let file = 0; file < files; file++) work();
  workload.note();
  return workload;
}

export function treeOf(disk: Disk, path: string): Tree {
  const tree = new Map<string, string>();
  const walk = (inode: Inode, at: string) => {
    for (const [name, entry] of [...inode.entries].sort(([one], [other]) => (one < other ? -1 : 1))) {
      tree.set(at + name, lineOf(entry));
      walk(entry, `${at}${name}/`);
    }
  };
  const root = disk.inode(path);
  if (root !== undefined) walk(root, '');
  return tree;
}

const hashes = new WeakMap<Buffer, string>();

function lineOf(inode: Inode): string {
  if (inode.kind === 'link') return `link ${inode.target}`;
  if (inode.kind === 'folder') return `folder ${inode.mode.toString(8)}`;
  const known =
    hashes.get(inode.content) ?? createHash('sha256').update(inode.content).digest('hex').slice(0, 16);
  hashes.set(inode.content, known);
  return `file ${inode.mode.toString(8)} ${inode.mtimeNs / 1000n} ${inode.content.length} ${known}`;
}

export function sameTree(one: Tree, other: Tree): boolean {
  return one.size === other.size && [...one].every(([path, line]) => other.get(path) === line);
}
