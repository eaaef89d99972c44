import { constants } from 'node:fs';
import { access, open, readFile, readdir, realpath, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { EvictdError, isErrno } from '../base/errors.ts';
import { readElf } from './elf.ts';

/** Of a file the kernel looks at so many bytes to find out what it is (`BINPRM_BUF_SIZE`). */
const HEAD_BYTES = 256;
/** The kernel follows so many interpreters that are scripts themselves. */
const INTERPRETERS_MAX = 5;
const MOUNTS = '/proc/self/mountinfo';
const FORMATS = '/proc/sys/fs/binfmt_misc';

/**
 * Whether the kernel would execute the file: it refuses with a bare error code, often one that is misleading, and at the
 * notice it is too late for a remedy. Rejects with `hook-start`, and with what `trust` rejects with, which is asked about
 * each interpreter on the way.
 */
export async function checkFormat(file: string, trust: Trust = async () => undefined): Promise<void> {
  await checkProgram(file, 0, trust);
}

type Trust = (interpreter: string) => Promise<void>;

export async function isExecutableFile(path: string): Promise<boolean> {
  try {
    const stats = await stat(path);
    await access(path, constants.X_OK);
    return stats.isFile();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ENAMETOOLONG')) return false;
    throw error;
  }
}

async function checkProgram(file: string, depth: number, trust: Trust): Promise<void> {
  await checkMount(file);
  const head = await readHead(file);
  if (head === undefined) return;
  if (head.toString('latin1', 0, 2) === '#!') await checkScript(file, head, depth, trust);
  else if (head.toString('latin1', 0, 4) === '\x7fELF') await checkBinary(file, head);
  else if (!(await isRegistered(head))) {
    // glibc hands a script without `#!` to /bin/sh, musl and systemd fail: it is a matter of luck.
    const isText = head.length === 0 || !head.includes(0);
    const what = isText
      ? 'is neither a binary nor a script that names its interpreter'
      : 'is in no format that this machine executes';
    const remedy = isText ? 'begin it with a #! line such as #!/bin/sh' : 'name the program that runs it';
    throw fault(`${file} ${what}`, remedy);
  }
}

/** `access` alone doesn't tell: files can be closed to the daemon and open to the hook's user. */
async function checkMount(file: string): Promise<void> {
  if (await isExecutableFile(file)) return;
  const mount = mountOf(await realpath(file), await readFile(MOUNTS, 'utf8'));
  if (mount?.options.includes('noexec') !== true) return;
  throw fault(
    `${file} is on the file system of ${mount.folder}, which is mounted noexec: no program in it can be started`,
    `move it, for example to /usr/local/bin, or run: mount -o remount,exec ${mount.folder}`,
  );
}

/** Of mountinfo (proc_pid_mountinfo(5)); mounts that cover others come after them. */
function mountOf(file: string, mounts: string) {
  const entries = mounts.split('\n').map((line) => {
    const [, , , , folder = '', options = ''] = line.split(' ');
    const plain = folder.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(parseInt(octal, 8)),
    );
    return { folder: plain, options: options.split(',') };
  });
  return entries.findLast(
    ({ folder }) => folder !== '' && (file === folder || file.startsWith(folder.replace(/\/?$/, '/'))),
  );
}

async function checkScript(file: string, head: Buffer, depth: number, trust: Trust): Promise<void> {
  const text = head.toString('latin1');
  if (head.length === HEAD_BYTES && !text.includes('\n')) {
    throw fault(
      `the #! line of ${file} has more than 255 characters`,
      'shorten it: the kernel cuts it there',
    );
  }
  const interpreter = /^#![ \t]*([^ \t\n\0]+)/.exec(text)?.[1] ?? '';
  const names = `${file} names the interpreter ${JSON.stringify(interpreter)}`;
  // Hooks run in /, which is what relative paths are taken from.
  const path = resolve('/', interpreter);
  if (interpreter === '' || !(await isExecutableFile(path))) {
    if (interpreter !== '') await explainMount(path, names);
    const remedy = interpreter.endsWith('\r')
      ? 'the file has Windows line ends, remove the CRs'
      : 'install it or correct the #! line';
    throw fault(`${names}, which does not exist or is not executable`, remedy);
  }
  if (depth === INTERPRETERS_MAX) {
    throw fault(`${names}: that is one more than the kernel follows`, 'name one that is no script');
  }
  const ofInterpreter = (error: unknown): never => {
    if (!(error instanceof EvictdError)) throw error;
    const message = depth === 0 ? `${names}, and ${error.message}` : error.message;
    throw new EvictdError(error.code, message, { remedy: error.remedy });
  };
  await trust(path).catch(ofInterpreter);
  await checkProgram(path, depth + 1, trust).catch(ofInterpreter);
}

async function explainMount(path: string, names: string): Promise<void> {
  try {
    await checkMount(path);
  } catch (error) {
    // That it doesn't exist is said by whoever asked.
    if (error instanceof EvictdError) throw fault(`${names}, and ${error.message}`, error.remedy);
  }
}

async function checkBinary(file: string, head: Buffer): Promise<void> {
  const [own, found] = [await readElf(process.execPath), await readElf(file)];
  if (found === undefined) throw fault(`${file} is cut off, or not wholly written`, 'install it anew');
  const isOurs =
    found.machine === own?.machine ? found.bits === own.bits : found.machine === narrower(own?.machine);
  if (!isOurs || found.order !== own?.order) {
    if (await isRegistered(head)) return;
    throw fault(
      `${file} is a program for another processor (ELF machine ${found.machine}, ${found.bits} bits), not for this one (${process.arch})`,
      `install the one that was built for ${process.arch}`,
    );
  }
  if (!found.isProgram) throw fault(`${file} is compiled, but no program`, 'link it, or name the program');
  const { loader } = found;
  if (loader === undefined || (await isExecutableFile(resolve('/', loader)))) return;
  throw fault(
    `${file} needs the loader ${JSON.stringify(loader)}, which does not exist or is not executable`,
    'it was built for another C library or system: install that, or a program that is linked statically',
  );
}

/** The 32-bit machine whose programs a kernel for this one can run: of x86-64 i386, of AArch64 ARM. */
function narrower(machine: number | undefined): number | undefined {
  return machine === 62 ? 3 : machine === 183 ? 40 : undefined;
}

/** Somebody has told the kernel what runs such files, as QEMU and Wine do (binfmt_misc). */
async function isRegistered(head: Buffer): Promise<boolean> {
  try {
    const names = (await readdir(FORMATS)).filter((name) => name !== 'register' && name !== 'status');
    const entries = await Promise.all(names.map((name) => readFile(join(FORMATS, name), 'utf8')));
    return entries.some((entry) => isOfFormat(head, entry));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ELOOP')) return false;
    throw error;
  }
}

/** Formats that go by the file's name are taken for fitting. */
function isOfFormat(head: Buffer, entry: string): boolean {
  const field = (name: string) => new RegExp(`^${name} (\\S+)$`, 'm').exec(entry)?.[1];
  if (!entry.startsWith('enabled')) return false;
  const magic = field('magic');
  if (magic === undefined) return field('extension') !== undefined;
  const wanted = Buffer.from(magic, 'hex');
  const mask = Buffer.from(field('mask') ?? 'ff'.repeat(wanted.length), 'hex');
  const offset = Number(field('offset') ?? 0);
  return wanted.every((byte, at) => (((head[offset + at] ?? 0) ^ byte) & (mask[at] ?? 0xff)) === 0);
}

/** Undefined when the daemon may execute the file but not read it. */
async function readHead(file: string): Promise<Buffer | undefined> {
  try {
    await using handle = await open(file, 'r');
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
}

function fault(message: string, remedy: string | undefined): EvictdError {
  return new EvictdError('hook-start', message, { remedy });
}
