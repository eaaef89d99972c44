import { randomUUID } from 'node:crypto';

import { blockIdOf, newHashKey } from '../../src/checkpoint/block-id.ts';
import type { BlobStore, ListOptions, WriteOptions, Written } from '../../src/checkpoint/store.ts';

export interface StoreUnderTest {
  readonly store: BlobStore;
  /** What went in, of what is stored; left out where that is the same. */
  readonly decode?: (stored: Uint8Array) => Uint8Array;
  readonly close?: () => Promise<unknown> | undefined;
}

/** What a rule of the contract is about. */
export type Topic =
  | 'content'
  | 'ranges'
  | 'sizes'
  | 'conditions'
  | 'staging'
  | 'whole writes'
  | 'writes together'
  | 'snapshots'
  | 'snapshot lists'
  | 'removal'
  | 'lists'
  | 'names'
  | 'metadata'
  | 'aborts';

/** Left out where one of its topics is. */
export interface Rule {
  readonly topics: readonly Topic[];
  readonly title: string;
  readonly run: () => Promise<void>;
}

export function rule(topics: Topic | readonly Topic[], title: string, run: () => Promise<void>): Rule {
  return { topics: [topics].flat(), title, run };
}

/** The store under test, and what rules do with it all the time. */
export interface Subject {
  readonly store: () => BlobStore;
  readonly putNew: (name: string, content: string, metadata?: WriteOptions['metadata']) => Promise<Written>;
  /** Writes over the version `etag`. */
  readonly putOver: (
    name: string,
    content: string,
    etag: string,
    metadata?: WriteOptions['metadata'],
  ) => Promise<Written>;
  readonly readText: (name: string, snapshot?: string) => Promise<string>;
  /** Answers their ids. */
  readonly stage: (name: string, ...contents: string[]) => Promise<string[]>;
  readonly commit: (
    name: string,
    ids: readonly string[],
    condition: WriteOptions['condition'],
  ) => Promise<Written>;
  readonly names: (prefix: string, options?: ListOptions) => Promise<string[]>;
}

export function createSubject(opened: () => StoreUnderTest): Subject {
  const store = () => opened().store;
  const put = (name: string, content: string, write: Partial<WriteOptions>) =>
    store().put(name, bytes(content), { ...WRITE_NEW, ...write }, signal);
  return {
    store,
    putNew: (name, content, metadata = {}) => put(name, content, { metadata }),
    putOver: (name, content, ifEtag, metadata = {}) =>
      put(name, content, { condition: { ifEtag }, metadata }),
    async readText(name, snapshot) {
      const options = { bytesMax: 30_000, ...(snapshot !== undefined && { snapshot }) };
      const stored = await store().read(name, options, signal);
      return Buffer.from(opened().decode?.(stored) ?? stored).toString();
    },
    async stage(name, ...contents) {
      for (const content of contents)
        await store().stageBlock(name, blockId(content), bytes(content), signal);
      return contents.map(blockId);
    },
    commit: (name, ids, condition) => store().commitBlocks(name, ids, { ...WRITE_NEW, condition }, signal),
    async names(prefix, options) {
      const found = [];
      for await (const { name } of store().list(prefix, signal, options)) found.push(name);
      return found;
    },
  };
}

export const NEW = { ifNone: true } as const;
export const WRITE_NEW: WriteOptions = {
  condition: NEW,
  metadata: {},
  contentType: 'application/octet-stream',
};
export const { signal } = new AbortController();

export function fresh(title: string): string {
  return `contract/${title}-${randomUUID()}`;
}

export const HASH_KEY = newHashKey();

/** As the engine does: all ids of a blob have the same length. */
export function blockId(content: string): string {
  return blockIdOf(Buffer.from(content, 'latin1'), HASH_KEY);
}

export function bytes(content: string): Uint8Array {
  return Buffer.from(content);
}
