/** In place of `node:fs/promises`: the disk of the simulated VM in which the program runs. */
import type { Disk, Place } from '../disk.ts';
import { runningProcess } from '../guest.ts';

type Text = string | Uint8Array;

/** What changes the disk: a crash right before and right after it is worth a try, and the disk may be in trouble. */
async function change<T>(what: string, path: Place, act: (disk: Disk) => T): Promise<T> {
  const process = runningProcess();
  process.doors.crashPoint(process, `before ${what}`);
  if (!process.isAlive()) return never();
  await process.doors.diskTrouble(process, what, String(path));
  if (!process.isAlive()) return never();
  const result = act(process.guest.disk);
  process.doors.crashPoint(process, `after ${what}`);
  return process.isAlive() ? result : never();
}

async function ask<T>(act: (disk: Disk) => T): Promise<T> {
  const process = runningProcess();
  return process.isAlive() ? act(process.guest.disk) : never();
}

/** Of a dead process nothing ever goes on. */
function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}

interface Big {
  readonly bigint?: boolean;
}

class Handle {
  readonly fd: number;
  readonly #path: Place;

  constructor(fd: number, path: Place) {
    this.fd = fd;
    this.#path = path;
  }

  stat({ bigint = false }: Big = {}) {
    return ask((disk) => disk.fstat(this.fd, bigint));
  }

  async read(into: Uint8Array, offset: number, length: number, position: number) {
    return { bytesRead: await ask((disk) => disk.read(this.fd, into, offset, length, position)) };
  }

  readFile(_encoding?: 'utf8'): Promise<string> {
    return ask((disk) => disk.content(this.fd).toString('utf8'));
  }

  async *readLines(_options: unknown) {
    const lines = (await this.readFile()).split('\n');
    if (lines.at(-1) === '') lines.pop();
    yield* lines;
  }

  appendFile(text: Text) {
    const bytes = Buffer.from(text);
    // Half of it may be there when the process dies.
    const half = bytes.length >> 1;
    return change('write', this.#path, (disk) => disk.write(this.fd, bytes, 0, half, null)).then(() =>
      change('write', this.#path, (disk) => disk.write(this.fd, bytes, half, bytes.length - half, null)),
    );
  }

  writeFile(text: Text) {
    return this.appendFile(text);
  }

  truncate(size: number) {
    return change('write', this.#path, (disk) => disk.truncate(this.fd, size));
  }

  sync() {
    return change('sync', this.#path, (disk) => disk.sync(this.fd));
  }

  chmod(mode: number) {
    return change('chmod', this.#path, (disk) => disk.chmod(this.fd, mode));
  }

  chown(uid: number, gid: number) {
    return change('chown', this.#path, (disk) => disk.chown(this.fd, uid, gid));
  }

  utimes(_atime: number, mtime: number) {
    return change('utimes', this.#path, (disk) => disk.utimes(this.fd, mtime));
  }

  close() {
    return ask((disk) => disk.close(this.fd));
  }

  [Symbol.asyncDispose]() {
    return this.close();
  }
}

export async function open(path: Place, flags: string | number = 'r', mode?: number) {
  const act = (disk: Disk) => new Handle(disk.open(path, flags, mode), path);
  return flags === 'w' || flags === 'wx' ? change('create', path, act) : ask(act);
}

export async function readFile(path: Place, _encoding: 'utf8') {
  await using handle = await open(path);
  return await handle.readFile();
}

export function lstat(path: Place, { bigint = false }: Big = {}) {
  return ask((disk) => disk.lstat(path, bigint));
}

export function stat(path: Place, { bigint = false }: Big = {}) {
  return ask((disk) => disk.stat(path, bigint));
}

/** As ext4 says of itself, with room. */
export function statfs(_path: Place) {
  return ask(() => ({ type: 0xef53, bavail: 1e6, bsize: 4096 }));
}

export function readdir(path: Place) {
  return ask((disk) => disk.readdir(path));
}

export function readlink(path: Place, _options: { encoding: 'buffer' }) {
  return ask((disk) => Buffer.from(disk.readlink(path)));
}

export function realpath(path: Place) {
  return ask((disk) => disk.realpath(path));
}

export function rename(from: Place, to: Place) {
  return change('rename', to, (disk) => disk.rename(from, to));
}

export async function rm(path: Place, { force = false }: { force?: boolean } = {}) {
  return change('remove', path, (disk) => {
    if (force && disk.inode(path) === undefined) return;
    disk.remove(path);
  });
}

export async function mkdir(path: Place, { recursive = false, mode = 0o777 } = {}) {
  return change('mkdir', path, (disk) => {
    if (!recursive) {
      disk.mkdir(path, mode);
      return undefined;
    }
    let first: string | undefined;
    let at = '';
    for (const part of String(path).split('/').slice(1)) {
      at += `/${part}`;
      if (disk.inode(at) !== undefined) continue;
      disk.mkdir(at, mode);
      first ??= at;
    }
    return first;
  });
}

export function symlink(target: Text, path: Place) {
  return change('symlink', path, (disk) => disk.symlink(Buffer.from(target).toString('utf8'), path));
}

export function link(from: Place, to: Place) {
  return change('link', to, (disk) => disk.link(from, to));
}

export function lchown(path: Place, uid: number, gid: number) {
  return change('chown', path, (disk) => disk.lchown(path, uid, gid));
}
