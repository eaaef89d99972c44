import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { forEachLimit } from '../base/concurrency.ts';
import type { Gate } from '../base/concurrency.ts';
import { EvictdError, isErrno } from '../base/errors.ts';
import { blockIdOf } from './block-id.ts';
import { blockLength } from './block-size.ts';
import { fileError } from './file-error.ts';
import { fsPath, quotePath } from './path-name.ts';
import { temporaryPath } from './restore-target.ts';
import type { RestoreTarget } from './restore-target.ts';
import type { ManifestFile } from './schema.ts';
import type { BlobStore } from './store.ts';

export interface RestoreFileContext {
  readonly target: RestoreTarget;
  /** `PREFIX/KEY/SET/`. */
  readonly prefix: string;
  readonly store: BlobStore;
  /** Bounds requests and bytes in memory over all files. */
  readonly gate: Gate;
  readonly onBytes: (bytes: number, from: 'store' | 'disk') => void;
}

const BLOCKS_IN_FLIGHT = 8;

/**
 * Brings one file back: written beside its place, each block checked against its hash, then renamed; whatever goes
 * wrong, the place holds what it held before. A file that is there and identical is kept.
 * Rejects `corrupt-block`, `unsafe-target`, `disk-full`, or what the store rejects with.
 */
export async function restoreFile(
  context: RestoreFileContext,
  file: ManifestFile,
  signal: AbortSignal,
): Promise<'fetched' | 'kept'> {
  const { target } = context;
  await target.checkParents(file.path);
  const location = fsPath(target.root, file.path);
  if (await isIdentical(context, file, signal)) {
    await target.dress(location, file);
    return 'kept';
  }
  const temporary = fsPath(target.root, temporaryPath(file.path));
  try {
    {
      await using handle = await open(
        temporary,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
        0o600,
      );
      await handle.truncate(file.size);
      await fetchBlocks(context, file, handle, signal);
      // A file that has its name has its content, also after a power cut.
      await handle.datasync();
    }
    await target.dress(temporary, file);
    await target.checkParents(file.path);
    await rename(temporary, location);
  } catch (error) {
    await rm(temporary, { force: true });
    if (error instanceof EvictdError || signal.aborted) throw error;
    throw fileError(error, file.path);
  }
  return 'fetched';
}

async function fetchBlocks(
  context: RestoreFileContext,
  file: ManifestFile,
  handle: FileHandle,
  signal: AbortSignal,
): Promise<void> {
  await forEachLimit(file.blocks.entries(), BLOCKS_IN_FLIGHT, signal, async ([index, id], inner) => {
    const offset = index * file.blockSize;
    const count = blockLength(file.size, file.blockSize, index);
    using _place = await context.gate.enter(count, inner);
    const bytes = await context.store.read(
      context.prefix + file.blob,
      { snapshot: file.snapshot, range: { offset, count }, bytesMax: count },
      inner,
    );
    if (bytes.length !== count || blockIdOf(bytes) !== id) throw corrupt(context, file, index);
    await writeFully(handle, bytes, offset);
    context.onBytes(count, 'store');
  });
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/** Size and time first, since they cost nothing; then its content, since they prove nothing. */
async function isIdentical(
  context: RestoreFileContext,
  file: ManifestFile,
  signal: AbortSignal,
): Promise<boolean> {
  let checked = 0;
  try {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    await using handle = await open(fsPath(context.target.root, file.path), flags);
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile() || Number(stats.size) !== file.size || !isSameTime(stats.mtimeNs, file.mtimeNs))
      return false;
    for (const [index, id] of file.blocks.entries()) {
      const count = blockLength(file.size, file.blockSize, index);
      using _place = await context.gate.enter(count, signal);
      const bytes = Buffer.allocUnsafe(count);
      const { bytesRead } = await handle.read(bytes, 0, count, index * file.blockSize);
      if (bytesRead !== count || blockIdOf(bytes) !== id) {
        context.onBytes(-checked, 'disk');
        return false;
      }
      checked += count;
      context.onBytes(count, 'disk');
    }
    return true;
  } catch (error) {
    // Nothing there, a link, or not ours to read: it is replaced. A folder shows at the rename.
    if (isErrno(error, 'ENOENT', 'ELOOP', 'EACCES', 'ENXIO', 'EISDIR')) return false;
    throw error;
  }
}

/** A restored time is good to less than a microsecond; see dress(). */
function isSameTime(actualNs: bigint, wantedNs: string): boolean {
  const difference = actualNs - BigInt(wantedNs);
  return difference > -2000n && difference < 2000n;
}

function corrupt(context: RestoreFileContext, file: ManifestFile, index: number): EvictdError {
  return new EvictdError(
    'corrupt-block',
    `block ${index} of ${quotePath(file.path)} (${context.prefix}${file.blob}, snapshot ${file.snapshot}) does not have the content that its checkpoint says`,
    { remedy: 'restore an older checkpoint with --at; evictd checkpoints lists them' },
  );
}
