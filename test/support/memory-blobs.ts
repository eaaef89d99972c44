import { EvictdError } from '../../src/base/errors.ts';
import { blobNameProblem } from '../../src/checkpoint/store/azure/blob-name.ts';
import type {
  BlobItem,
  BlobPage,
  BlobStore,
  Created,
  FolderPage,
  ListOptions,
  ReadOptions,
  Removed,
  StoreErrorCode,
} from '../../src/checkpoint/store/store.ts';

/** A container held in memory, with the rules of the real service that matter here. Several clients may use it. */
export interface MemoryBlobs {
  connect(hooks?: BlobHooks): MemoryClient;
  /** All names, in order. */
  names(): string[];
  /** A copy of what a blob holds; undefined: there is none. */
  content(name: string): Buffer | undefined;
  /** Changes content in place: a fault of the storage itself. */
  corrupt(name: string, change: (content: Buffer) => Buffer): void;
  /** As by a rule of the account, or by somebody's hand. */
  remove(name: string): void;
  /** Moves a blob to the archive tier. */
  archive(name: string): void;
}

export interface MemoryBlobsOptions {
  /** Of a page at most, where the caller wants no less; default 5,000. */
  readonly pageMax?: number;
  /** The server's clock, epoch ms. */
  readonly wallMs?: () => number;
  /** What the account says of itself with each write and delete. */
  readonly isVersioned?: boolean;
  readonly isPermanent?: boolean;
}

export interface MemoryClient extends BlobStore {
  readonly calls: readonly BlobCall[];
}

export interface BlobCall {
  readonly operation: Exclude<keyof BlobStore, 'describe'>;
  /** Of a blob, or a prefix. */
  readonly name: string;
  /** Of content that went up, or that was asked for at most. */
  readonly bytes: number;
}

/** Called with each call and its number (from 1). What they throw is what the call rejects with. */
export interface BlobHooks {
  before?(call: BlobCall, number: number): Promise<void> | void;
  /** The service has done it; only the answer is on its way. */
  after?(call: BlobCall, number: number): Promise<void> | void;
}

interface Blob {
  content: Buffer<ArrayBuffer>;
  readonly modifiedAt: number;
  isArchived: boolean;
}

const PAGE_MAX = 5000;

export function createMemoryBlobs(options: MemoryBlobsOptions = {}): MemoryBlobs {
  const { pageMax = PAGE_MAX, wallMs = Date.now } = options;
  const blobs = new Map<string, Blob>();
  const blobOf = (name: string): Blob => {
    const blob = blobs.get(name);
    if (blob === undefined) throw storeError('not-found', name);
    return blob;
  };
  const put = (name: string, body: Uint8Array) =>
    void blobs.set(name, { content: Buffer.from(body), modifiedAt: wallMs(), isArchived: false });
  const page = <T>(all: readonly T[], keyOf: (item: T) => string, { from, max = PAGE_MAX }: ListOptions) => {
    const begin = from === undefined ? 0 : all.findIndex((item) => keyOf(item) >= from);
    const rest = begin === -1 ? [] : all.slice(begin);
    const items = rest.slice(0, Math.min(max, pageMax));
    const following = rest[items.length];
    return { items, ...(following !== undefined && { next: keyOf(following) }) };
  };
  const below = (prefix: string) => [...blobs.keys()].filter((name) => name.startsWith(prefix)).sort();
  const service: Service = {
    list(prefix, listOptions) {
      const all = below(prefix).map((name) => itemOf(name, blobOf(name)));
      return { ...page(all, ({ name }) => name, listOptions), serverMs: wallMs() };
    },
    folders(prefix, listOptions) {
      const ends = below(prefix).map((name) => [name, name.indexOf('/', prefix.length)] as const);
      const all = new Set(ends.filter(([, end]) => end !== -1).map(([name, end]) => name.slice(0, end + 1)));
      const { items: names, ...rest } = page([...all], (name) => name, listOptions);
      return { names, ...rest };
    },
    read(name, { range, bytesMax }) {
      const { content, isArchived } = blobOf(name);
      if (isArchived) throw storeError('archived', name);
      const { offset, count } = range ?? { offset: 0, count: content.length };
      if (count > bytesMax) throw storeError('too-large', name);
      if (offset + count > content.length) throw storeError('bad-answer', name);
      return new Uint8Array(content.subarray(offset, offset + count));
    },
    create(name, body) {
      if (blobs.has(name)) return { outcome: 'taken' };
      put(name, body);
      return { outcome: 'created', isVersioned: options.isVersioned ?? false };
    },
    replace: put,
    remove: (name) =>
      blobs.delete(name)
        ? { outcome: 'removed', isPermanent: options.isPermanent ?? true }
        : { outcome: 'absent' },
  };
  return {
    connect: (hooks = {}) => createClient(service, hooks),
    names: () => below(''),
    content(name) {
      const blob = blobs.get(name);
      return blob === undefined ? undefined : Buffer.from(blob.content);
    },
    corrupt(name, change) {
      const blob = blobOf(name);
      blob.content = Buffer.from(change(Buffer.from(blob.content)));
    },
    remove: (name) => void blobs.delete(name),
    archive(name) {
      blobOf(name).isArchived = true;
    },
  };
}

/** The port without signals and promises: each call happens at one instant. */
interface Service {
  list(prefix: string, options: ListOptions): BlobPage;
  folders(prefix: string, options: ListOptions): FolderPage;
  read(name: string, options: ReadOptions): Uint8Array<ArrayBuffer>;
  create(name: string, body: Uint8Array): Created;
  replace(name: string, body: Uint8Array): void;
  remove(name: string): Removed;
}

function createClient(service: Service, hooks: BlobHooks): MemoryClient {
  const calls: BlobCall[] = [];
  const call = async <T>(made: BlobCall, signal: AbortSignal, run: () => T): Promise<T> => {
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
  const named = async <T>(
    operation: BlobCall['operation'],
    name: string,
    bytes: number,
    signal: AbortSignal,
    run: () => T,
  ) => {
    const problem = blobNameProblem(name);
    if (problem !== undefined)
      throw storeError('refused', `the blob name ${JSON.stringify(name)} ${problem}`);
    return call({ operation, name, bytes }, signal, run);
  };
  const plain = <T>(operation: BlobCall['operation'], name: string, signal: AbortSignal, run: () => T) =>
    call({ operation, name, bytes: 0 }, signal, run);
  return {
    calls,
    describe: 'a container in memory',
    list: (prefix, options, signal) => plain('list', prefix, signal, () => service.list(prefix, options)),
    folders: (prefix, options, signal) =>
      plain('folders', prefix, signal, () => service.folders(prefix, options)),
    read: (name, options, signal) =>
      named('read', name, options.range?.count ?? options.bytesMax, signal, () =>
        service.read(name, options),
      ),
    create: (name, body, _options, signal) =>
      named('create', name, body.length, signal, () => service.create(name, body)),
    replace: (name, body, _options, signal) =>
      named('replace', name, body.length, signal, () => service.replace(name, body)),
    remove: (name, signal) => named('remove', name, 0, signal, () => service.remove(name)),
    ensureContainer: (signal) => plain('ensureContainer', '', signal, () => undefined),
  };
}

function itemOf(name: string, { content, modifiedAt, isArchived }: Blob): BlobItem {
  return { name, bytes: content.length, modifiedAt, isArchived };
}

function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw signal.reason instanceof EvictdError ? signal.reason : storeError('aborted', 'aborted');
}

/** For hooks. */
export function storeError(code: StoreErrorCode, message: string): EvictdError {
  return new EvictdError(code, message);
}

export function countCalls(client: MemoryClient, operation: BlobCall['operation'], within = ''): number {
  return client.calls.filter((call) => call.operation === operation && call.name.includes(within)).length;
}
