import { sameBlocks } from './block-id.ts';
import { contentIn } from './block-memory.ts';
import { TICK_MS } from './open-file.ts';
import type { FoundFile } from './read-job.ts';
import type { ScannedFile } from './scan.ts';
import { isWorthAsking } from './send-blocks.ts';
import type { FileVersion, SendContext, SendMode } from './send-context.ts';
import { smallBlockSize } from './send-small.ts';
import { SMALL_MEMORY_BYTES } from './transfer.ts';
import type { WholeWrite } from './whole-write.ts';

/** So many small files go together: enough to make what is done once for all of them count. */
export const TOGETHER_MAX = 16;

export interface GroupedFiles {
  /** Small files, of which each group is for sendTogether. */
  readonly groups: readonly (readonly ScannedFile[])[];
  readonly others: readonly ScannedFile[];
}

export function groupSmall(context: SendContext, files: readonly ScannedFile[]): GroupedFiles {
  const groups: ScannedFile[][] = [];
  const others: ScannedFile[] = [];
  let last: ScannedFile[] = [];
  let bytes = 0;
  for (const file of files) {
    const { size } = file.stat;
    const isSmall = smallBlockSize(context, file.path, size) !== undefined;
    if (!isSmall || isWorthAsking(context.blobOf(file.path), size)) {
      others.push(file);
      continue;
    }
    if (groups.length === 0 || last.length === TOGETHER_MAX || bytes + size > SMALL_MEMORY_BYTES) {
      groups.push((last = []));
      bytes = 0;
    }
    last.push(file);
    bytes += size;
  }
  return { groups, others };
}

/** A file that was read, and where its content is. */
interface ReadFile {
  readonly path: string;
  readonly version: FileVersion;
  readonly write: WholeWrite;
}

/**
 * Sends small files that hold still, by one message to a reading thread and one to a sending thread. Answers the
 * versions by path, without those that are to be had with more care only; see sendFile.
 */
export async function sendTogether(
  context: SendContext,
  files: readonly ScannedFile[],
  putTogether: NonNullable<SendMode['putTogether']>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, FileVersion>> {
  const { clock, index, transfer } = context;
  const versions = new Map<string, FileVersion>();
  const bytes = files.reduce((sum, { stat }) => sum + stat.size, 0);
  using _place = await transfer.hold(bytes, signal);
  const memory = transfer.smallMemory();
  const readAtMs = clock.wallMs();
  const settle = ({ path, version }: ReadFile) => {
    context.onStored(path, version.stat.size);
    index.set(path, { ...version, readAtMs });
    versions.set(path, version);
  };
  const due: ReadFile[] = [];
  for (const file of await readTogether(context, files, memory, readAtMs)) {
    context.onFileRead();
    context.onRead(file.version.stat.size);
    const { blob, id } = file.write;
    if (blob.blocks.has(id) || sameBlocks(blob.content, file.version.blocks)) settle(file);
    else due.push(file);
  }
  const dueBytes = due.reduce((sum, { write }) => sum + write.body.length, 0);
  const writes = due.map(({ write }) => write);
  const written = due.length === 0 ? [] : await transfer.send(dueBytes, () => putTogether(writes, signal));
  for (const [at, file] of due.entries()) {
    if (written[at] !== true) continue;
    context.onSent(file.write.body.length);
    settle(file);
  }
  if (written.every(Boolean)) transfer.reuse(memory);
  return versions;
}

async function readTogether(
  context: SendContext,
  files: readonly ScannedFile[],
  memory: SharedArrayBuffer,
  readAtMs: number,
): Promise<readonly ReadFile[]> {
  const { index, location, reader } = context;
  const result = await reader.run({
    kind: 'files',
    root: location,
    paths: files.map(({ path }) => path),
    sizes: files.map(({ stat }) => stat.size),
    changedBeforeMs: readAtMs - TICK_MS,
    memory,
    hashKey: index.hashKey,
  });
  const read: ReadFile[] = [];
  let start = 0;
  for (const [at, { path, stat }] of files.entries()) {
    const found = result.kind === 'files' ? result.found[at] : undefined;
    const file = found && readFile(context, path, found, contentIn(memory, start, stat.size));
    if (file !== undefined) read.push(file);
    start += stat.size;
  }
  return read;
}

/** Undefined: its times say that it is as it was, and its content says that it isn't. */
function readFile(
  context: SendContext,
  path: string,
  { stat, id }: FoundFile,
  body: Uint8Array,
): ReadFile | undefined {
  const known = context.index.unchanged(path, stat)?.blocks[0];
  const blockSize = smallBlockSize(context, path, stat.size);
  if (blockSize === undefined || (known !== undefined && known !== id)) return undefined;
  const version = { stat, blockSize, blocks: [id] };
  return { path, version, write: { blob: context.blobOf(path), id, body } };
}
