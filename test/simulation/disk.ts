import { constants } from 'node:fs';

import { type Inode, copyInode, createInode, losePower, makeDurable, statsOf } from './inode.ts';

export type Place = string | Uint8Array;
type Stats = ReturnType<typeof statsOf>;

/** A file system in memory, with the calls of node:fs that evictd makes, and their errors. */
export interface Disk {
  open(path: Place, flags: string | number, mode?: number): number;
  close(fd: number): void;
  read(fd: number, into: Uint8Array, offset: number, length: number, position: number): number;
  write(fd: number, from: Uint8Array, offset: number, length: number, position: number | null): number;
  truncate(fd: number, size: number): void;
  content(fd: number): Buffer;
  sync(fd: number): void;
  fstat(fd: number, isBig: boolean): Stats;
  chmod(fd: number, mode: number): void;
  chown(fd: number, uid: number, gid: number): void;
  utimes(fd: number, mtimeSeconds: number): void;
  setTime(path: Place, mtimeNs: bigint): void;
  chmodAt(path: Place, mode: number): void;
  lstat(path: Place, isBig: boolean): Stats;
  stat(path: Place, isBig: boolean): Stats;
  readdir(path: Place): string[];
  readlink(path: Place): string;
  rename(from: Place, to: Place): void;
  remove(path: Place): void;
  mkdir(path: Place, mode?: number): void;
  symlink(target: string, path: Place): void;
  link(from: Place, to: Place): void;
  /** As flock(2): until the descriptor is closed, or `isAlive` says that its process has ended. */
  lock(fd: number, isAlive: () => boolean): boolean;
  lchown(path: Place, uid: number, gid: number): void;
  realpath(path: Place): string;
  /** Everything is on the platter. */
  flush(): void;
  losePower(isKept: () => boolean): void;
  /** All that is on another disk is on this one, as on a copy of it; nothing else is. */
  copyOf(other: Disk): void;
  inode(path: Place): Inode | undefined;
}

const { O_CREAT, O_EXCL, O_TRUNC, O_DIRECTORY, O_NOFOLLOW } = constants;
/** Node doesn't name it. */
const O_PATH = 0o10000000;
const FLAGS: Readonly<Record<string, number>> = {
  r: 0,
  w: O_CREAT | O_TRUNC,
  wx: O_CREAT | O_EXCL,
  a: O_CREAT,
};

/** `nowNs`: the guest's wall clock, as coarse as the kernel's. */
export function createDisk(nowNs: () => bigint): Disk {
  let inodes = 0n;
  const make = (kind: Inode['kind'], mode: number, target?: string) =>
    createInode(++inodes, kind, mode, nowNs(), target);
  const root = make('folder', 0o755);
  const opened = new Map<number, Inode>();
  const locks = new Map<Inode, { readonly fd: number; readonly isAlive: () => boolean }>();
  let fds = 100;

  const of = (fd: number): Inode => opened.get(fd) ?? fail('EBADF', String(fd));
  const changed = (inode: Inode) => void (inode.ctimeNs = nowNs());
  const written = (inode: Inode) => void (inode.mtimeNs = inode.ctimeNs = nowNs());

  /** The folder that holds it, and its name in there; `/proc/self/fd/N` is the open folder N. */
  function locate(place: Place): { readonly folder: Inode; readonly name: string } {
    const path = typeof place === 'string' ? place : Buffer.from(place).toString('utf8');
    const parts = path.split('/').filter((part) => part !== '' && part !== '.');
    let folder = root;
    if (path.startsWith('/proc/self/fd/')) {
      folder = of(Number(parts[3]));
      parts.splice(0, 4);
      if (parts.length === 0) return { folder, name: '.' };
    }
    const name = parts.pop() ?? '.';
    for (const part of parts) folder = follow(folder.entries.get(part) ?? fail('ENOENT', path), path);
    if (folder.kind !== 'folder') fail('ENOTDIR', path);
    return { folder, name };
  }

  function follow(inode: Inode, path: string): Inode {
    if (inode.kind !== 'link') return inode;
    return lookUp(inode.target.startsWith('/') ? inode.target : fail('ENOENT', path)) ?? fail('ENOENT', path);
  }

  function lookUp(place: Place): Inode | undefined {
    const { folder, name } = locate(place);
    return name === '.' ? folder : folder.entries.get(name);
  }

  const there = (place: Place): Inode => lookUp(place) ?? fail('ENOENT', String(place));

  function put(place: Place, inode: Inode): Inode {
    const { folder, name } = locate(place);
    if (folder.entries.has(name)) fail('EEXIST', String(place));
    folder.entries.set(name, inode);
    written(folder);
    return inode;
  }

  function take(place: Place): Inode {
    const inode = there(place);
    const { folder, name } = locate(place);
    if (inode.entries.size > 0) fail('ENOTEMPTY', String(place));
    folder.entries.delete(name);
    written(folder);
    inode.names--;
    changed(inode);
    return inode;
  }

  function rename(from: Place, to: Place): void {
    const inode = there(from);
    const source = locate(from);
    const target = locate(to);
    const before = target.folder.entries.get(target.name);
    if (before === inode) return;
    if (before !== undefined && before.kind === 'folder') fail('EISDIR', String(to));
    if (before !== undefined) {
      before.names--;
      changed(before);
    }
    source.folder.entries.delete(source.name);
    target.folder.entries.set(target.name, inode);
    written(source.folder);
    written(target.folder);
    changed(inode);
  }

  function open(path: Place, how: string | number, mode = 0o666): number {
    const flags = typeof how === 'number' ? how : (FLAGS[how] ?? fail('EINVAL', how));
    let inode = lookUp(path);
    if (inode === undefined && (flags & O_CREAT) !== 0) inode = put(path, make('file', mode & 0o7777));
    else if (inode !== undefined && (flags & O_EXCL) !== 0) fail('EEXIST', String(path));
    if (inode === undefined) fail('ENOENT', String(path));
    if (inode.kind === 'link') {
      if ((flags & O_NOFOLLOW) === 0) inode = follow(inode, String(path));
      else if ((flags & O_DIRECTORY) !== 0) fail('ENOTDIR', String(path));
      else if ((flags & O_PATH) === 0) fail('ELOOP', String(path));
    }
    if ((flags & O_DIRECTORY) !== 0 && inode.kind !== 'folder') fail('ENOTDIR', String(path));
    if ((flags & O_TRUNC) !== 0) resize(inode, 0);
    opened.set(++fds, inode);
    return fds;
  }

  function resize(inode: Inode, size: number): void {
    const content = Buffer.alloc(size);
    inode.content.copy(content);
    inode.content = content;
    written(inode);
  }

  return {
    open,
    close: (fd) => void opened.delete(fd),
    read(fd, into, offset, length, position) {
      const piece = of(fd).content.subarray(position, position + length);
      into.set(piece, offset);
      return piece.length;
    },
    write(fd, from, offset, length, position) {
      const inode = of(fd);
      const start = position ?? inode.content.length;
      resize(inode, Math.max(inode.content.length, start + length));
      inode.content.set(from.subarray(offset, offset + length), start);
      return length;
    },
    truncate: (fd, size) => resize(of(fd), size),
    content: (fd) => of(fd).content,
    sync(fd) {
      const inode = of(fd);
      inode.durable = { content: inode.content, entries: new Map(inode.entries) };
    },
    fstat: (fd, isBig) => statsOf(of(fd), isBig),
    chmod(fd, mode) {
      const inode = of(fd);
      inode.mode = mode & 0o7777;
      changed(inode);
    },
    chown(fd, uid, gid) {
      Object.assign(of(fd), { uid, gid });
      changed(of(fd));
    },
    utimes(fd, mtimeSeconds) {
      const inode = of(fd);
      changed(inode);
      inode.mtimeNs = BigInt(Math.floor(mtimeSeconds * 1e6)) * 1000n;
    },
    setTime(path, mtimeNs) {
      const inode = there(path);
      changed(inode);
      inode.mtimeNs = mtimeNs;
    },
    chmodAt(path, mode) {
      const inode = follow(there(path), String(path));
      inode.mode = mode & 0o7777;
      changed(inode);
    },
    lstat: (path, isBig) => statsOf(there(path), isBig),
    stat: (path, isBig) => statsOf(follow(there(path), String(path)), isBig),
    readdir: (path) => {
      const folder = there(path);
      return folder.kind === 'folder' ? [...folder.entries.keys()] : fail('ENOTDIR', String(path));
    },
    readlink: (path) => {
      const inode = there(path);
      return inode.kind === 'link' ? inode.target : fail('EINVAL', String(path));
    },
    rename,
    remove: (path) => void take(path),
    mkdir: (path, mode = 0o777) => void put(path, make('folder', mode & 0o7777)),
    symlink: (target, path) => void put(path, make('link', 0o777, target)),
    link(from, to) {
      const inode = put(to, there(from));
      inode.names++;
      changed(inode);
    },
    lock(fd, isAlive) {
      const inode = of(fd);
      const holder = locks.get(inode);
      const isHeld = holder !== undefined && holder.isAlive() && opened.get(holder.fd) === inode;
      if (isHeld && holder.fd !== fd) return false;
      locks.set(inode, { fd, isAlive });
      return true;
    },
    lchown(path, uid, gid) {
      Object.assign(there(path), { uid, gid });
    },
    realpath: (path) => (there(path), String(path)),
    flush: () => makeDurable(root),
    losePower(isKept) {
      opened.clear();
      losePower(root, isKept);
    },
    copyOf(other) {
      const from = other.inode('/');
      if (from === undefined) return;
      inodes = 1_000_000n;
      root.entries = copyInode(from).entries;
      makeDurable(root);
    },
    inode(path) {
      try {
        return lookUp(path);
      } catch {
        // A folder on the way isn't there: neither is what it would hold.
        return undefined;
      }
    },
  };
}

export function fail(code: string, what: string): never {
  throw Object.assign(new Error(`${code}: ${what}`), { code });
}
