import { EvictdError } from '../../src/base/errors.ts';
import type {
  BlobHead,
  BlobItem,
  BlobStore,
  BlockList,
  ListOptions,
  ReadOptions,
  StoreErrorCode,
  WriteCondition,
  WriteOptions,
  Written,
} from '../../src/checkpoint/store.ts';
import { placeBlocks } from './place-blocks.ts';
import { putEach } from './put-each.ts';

/** A container held in memory, with the rules of the real service that matter here. Several clients may use it. */
export interface MemoryService {
  connect(hooks?: ClientHooks): MemoryClient;
  /** Drops all staged blocks, as the service does after a week. */
  expireStagedBlocks(): void;
  /** Overwrites content in place, blob and snapshots, without a new ETag: a fault of the storage itself. */
  corrupt(name: string, change: (content: Buffer) => Buffer): void;
  names(): string[];
}

export interface MemoryClient extends BlobStore {
  readonly calls: readonly StoreCall[];
}

export interface StoreCall {
  readonly operation: Exclude<keyof BlobStore, 'describe'>;
  readonly name: string;
  /** Of content that went up. */
  readonly bytes: number;
}

/** Called with each call and its number (from 1). What they throw is what the call rejects with. */
export interface ClientHooks {
  /** A write that wishes for a snapshot has it at once, and small ones are taken together. */
  readonly snapshotsAtOnce?: boolean;
  before?(call: StoreCall, number: number): Promise<void> | void;
  /** The service has done it; only the answer is on its way. */
  after?(call: StoreCall, number: number): Promise<void> | void;
}

interface Blob {
  committed: Version | undefined;
  readonly staged: Map<string, Buffer>;
  readonly snapshots: Map<string, Version>;
}

interface Version {
  readonly etag: string;
  /** In pieces, so that a block which stands in it thousands of times is in memory once. */
  content: readonly Buffer[];
  readonly metadata: Readonly<Record<string, string>>;
  /** None for a blob that was written whole. */
  readonly blocks: readonly { readonly id: string; readonly content: Buffer }[];
  readonly modifiedAt: number;
}

export function createMemoryService(): MemoryService {
  const blobs = new Map<string, Blob>();
  let versions = 0;
  const newEtag = () => `"0x${(++versions).toString(16).toUpperCase()}"`;
  const blobOf = (name: string): Blob => {
    const blob = blobs.get(name) ?? { committed: undefined, staged: new Map(), snapshots: new Map() };
    blobs.set(name, blob);
    return blob;
  };
  const write = (
    name: string,
    options: WriteOptions,
    blocks: Version['blocks'],
    content: readonly Buffer[],
  ): Written => {
    const blob = blobOf(name);
    check(blob.committed?.etag, options.condition, name);
    checkMetadata(options.metadata);
    blob.committed = {
      etag: newEtag(),
      content,
      metadata: { ...options.metadata },
      blocks,
      modifiedAt: Date.now(),
    };
    blob.staged.clear();
    return { etag: blob.committed.etag };
  };
  const service: Service = {
    *list(prefix, { snapshots, uncommitted = false }): Iterable<BlobItem> {
      for (const name of [...blobs.keys()].sort()) {
        const blob = blobs.get(name);
        if (!name.startsWith(prefix) || blob === undefined) continue;
        for (const [snapshot, version] of snapshots ? blob.snapshots : []) {
          yield { ...itemOf(name, version), snapshot };
        }
        if (blob.committed !== undefined) yield itemOf(name, blob.committed);
        else if (uncommitted && blob.staged.size > 0) yield { name, etag: '""', bytes: 0, modifiedAt: 0 };
      }
    },
    read(name, { snapshot, range, bytesMax }) {
      const blob = blobs.get(name);
      const version = snapshot === undefined ? blob?.committed : blob?.snapshots.get(snapshot);
      if (version === undefined) throw storeError('not-found', name);
      const start = range?.offset ?? 0;
      const end = Math.min(lengthOf(version.content), start + (range?.count ?? Infinity));
      if (end - start > bytesMax) throw storeError('too-large', name);
      return slice(version.content, start, end);
    },
    blocks(name): BlockList | undefined {
      const blob = blobs.get(name);
      if (blob === undefined || (blob.committed === undefined && blob.staged.size === 0)) return undefined;
      return {
        etag: blob.committed?.etag,
        committed: (blob.committed?.blocks ?? []).map(({ id, content }) => ({ id, bytes: content.length })),
        uncommitted: [...blob.staged].map(([id, content]) => ({ id, bytes: content.length })),
      };
    },
    stageBlock(name, id, body) {
      const blob = blobOf(name);
      const lengths = new Set([...blob.staged.keys()].map((other) => other.length));
      if (lengths.size > 0 && !lengths.has(id.length)) throw storeError('refused', 'ids of different length');
      blob.staged.set(id, Buffer.from(body));
    },
    commitBlocks(name, ids, options) {
      const blob = blobOf(name);
      check(blob.committed?.etag, options.condition, name);
      const blocks = ids.map((id) => {
        const content =
          blob.staged.get(id) ?? blob.committed?.blocks.find((block) => block.id === id)?.content;
        if (content === undefined) throw storeError('missing-block', name);
        return { id, content };
      });
      return write(
        name,
        options,
        blocks,
        blocks.map(({ content }) => content),
      );
    },
    put: (name, body, options) => write(name, options, [], [Buffer.from(body)]),
    snapshot(name, etag) {
      const blob = blobs.get(name);
      if (blob?.committed === undefined) throw storeError('not-found', name);
      check(blob.committed.etag, { ifEtag: etag }, name);
      const id = `2026-01-01T00:00:00.${String(++versions).padStart(7, '0')}Z`;
      blob.snapshots.set(id, { ...blob.committed });
      return id;
    },
    head(name): BlobHead | undefined {
      const version = blobs.get(name)?.committed;
      return version === undefined ? undefined : { etag: version.etag, metadata: { ...version.metadata } };
    },
    remove(name, { snapshot, ifEtag }) {
      const blob = blobs.get(name);
      // What only has staged blocks is no blob yet.
      if (blob?.committed === undefined) return;
      if (snapshot !== undefined) blob.snapshots.delete(snapshot);
      else {
        if (ifEtag !== undefined) check(blob.committed.etag, { ifEtag }, name);
        blobs.delete(name);
      }
    },
  };
  return {
    connect: (hooks = {}) => createClient(service, hooks),
    expireStagedBlocks() {
      for (const blob of blobs.values()) blob.staged.clear();
    },
    corrupt(name, change) {
      const blob = blobs.get(name);
      for (const version of [blob?.committed, ...(blob?.snapshots.values() ?? [])]) {
        if (version !== undefined) version.content = [change(Buffer.concat(version.content))];
      }
    },
    names: () => [...blobs].filter(([, blob]) => blob.committed !== undefined).map(([name]) => name),
  };
}

/** The port without signals and promises: each call happens at one instant. */
interface Service {
  list(prefix: string, options: ListOptions): Iterable<BlobItem>;
  read(name: string, options: ReadOptions): Uint8Array;
  blocks(name: string): BlockList | undefined;
  stageBlock(name: string, id: string, body: Uint8Array): void;
  commitBlocks(name: string, ids: readonly string[], write: WriteOptions): Written;
  put(name: string, body: Uint8Array, write: WriteOptions): Written;
  snapshot(name: string, etag: string): string;
  head(name: string): BlobHead | undefined;
  remove(name: string, options: { snapshot?: string; ifEtag?: string }): void;
}

function createClient(service: Service, hooks: ClientHooks): MemoryClient {
  const calls: StoreCall[] = [];
  const call = async <T>(made: StoreCall, signal: AbortSignal, run: () => T): Promise<T> => {
    throwIfAborted(signal);
    const number = calls.push(made);
    // Answers never come in the same turn, as over a network.
    await new Promise((resolve) => setImmediate(resolve));
    await hooks.before?.(made, number);
    throwIfAborted(signal);
    const result = run();
    await hooks.after?.(made, number);
    throwIfAborted(signal);
    return result;
  };
  const written = (name: string, write: WriteOptions, answer: Written): Written =>
    hooks.snapshotsAtOnce === true && write.snapshot === true
      ? { ...answer, snapshot: service.snapshot(name, answer.etag) }
      : answer;
  const plain = <T>(operation: StoreCall['operation'], name: string, signal: AbortSignal, run: () => T) =>
    call({ operation, name, bytes: 0 }, signal, run);
  const put: BlobStore['put'] = (name, body, write, signal) =>
    call({ operation: 'put', name, bytes: body.length }, signal, () =>
      written(name, write, service.put(name, body, write)),
    );
  return {
    calls,
    describe: 'a container in memory',
    async *list(prefix, signal, options) {
      const all = () => [...service.list(prefix, options ?? { snapshots: false })];
      yield* await plain('list', prefix, signal, all);
    },
    read: (name, options, signal) => plain('read', name, signal, () => service.read(name, options)),
    download: (name, options, signal) =>
      plain('download', name, signal, () => {
        const { snapshot, offset, lengths } = options;
        const count = lengths.reduce((sum, length) => sum + length, 0);
        const range = { offset, count };
        return placeBlocks(service.read(name, { snapshot, range, bytesMax: count }), options);
      }),
    blocks: (name, signal) => plain('blocks', name, signal, () => service.blocks(name)),
    stageBlock: (name, id, body, signal) =>
      call({ operation: 'stageBlock', name, bytes: body.length }, signal, () =>
        service.stageBlock(name, id, body),
      ),
    commitBlocks: (name, ids, write, signal) =>
      plain('commitBlocks', name, signal, () => written(name, write, service.commitBlocks(name, ids, write))),
    put,
    ...(hooks.snapshotsAtOnce === true && { putTogether: putEach(put) }),
    snapshot: (name, etag, signal) => plain('snapshot', name, signal, () => service.snapshot(name, etag)),
    head: (name, signal) => plain('head', name, signal, () => service.head(name)),
    remove: (name, options, signal) => plain('remove', name, signal, () => service.remove(name, options)),
  };
}

function itemOf(name: string, { etag, content, modifiedAt }: Version): BlobItem {
  return { name, etag, bytes: lengthOf(content), modifiedAt };
}

function lengthOf(pieces: readonly Buffer[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** A copy of a part of it. */
function slice(pieces: readonly Buffer[], start: number, end: number): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const piece of pieces) {
    if (at < end && at + piece.length > start)
      parts.push(piece.subarray(Math.max(0, start - at), Math.min(piece.length, end - at)));
    at += piece.length;
  }
  return Buffer.concat(parts);
}

function check(etag: string | undefined, condition: WriteCondition, name: string): void {
  const holds = 'ifNone' in condition ? etag === undefined : etag === condition.ifEtag;
  if (!holds) throw storeError('conflict', name);
}

function checkMetadata(metadata: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(metadata)) {
    if (!/^[a-z_][a-z0-9_]*$/.test(key) || !/^[!-~](?:[ -~]*[!-~])?$/.test(value)) {
      throw storeError('refused', `metadata ${key}`);
    }
  }
}

function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw signal.reason instanceof EvictdError ? signal.reason : storeError('aborted', 'aborted');
}

export function storeError(code: StoreErrorCode, message: string): EvictdError {
  return new EvictdError(code, message);
}

export function countCalls(client: MemoryClient, operation: StoreCall['operation'], within = ''): number {
  return client.calls.filter((call) => call.operation === operation && call.name.includes(within)).length;
}
