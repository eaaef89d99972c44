import { randomUUID } from 'node:crypto';

import type { BlobStore } from '../../../src/checkpoint/store/store.ts';
import { listAll } from '../../../src/checkpoint/store/list-all.ts';

export interface StoreUnderTest {
  readonly store: BlobStore;
  readonly close?: () => Promise<unknown>;
}

/** In which accounts differ. */
export interface AccountTraits {
  /** Nothing can be overwritten or deleted. */
  readonly isImmutable?: boolean;
  readonly isVersioned?: boolean;
  /** It keeps what is deleted. */
  readonly isSoft?: boolean;
  /** Answers get lost: what a call did may look as if somebody else had done it before. */
  readonly losesAnswers?: boolean;
}

/** The store under test, and what tests do with it all the time. */
export interface Subject {
  readonly store: () => BlobStore;
  readonly create: (name: string, content: string) => ReturnType<BlobStore['create']>;
  readonly text: (name: string) => Promise<string>;
  readonly names: (prefix: string) => Promise<string[]>;
}

export const TYPE = { contentType: 'application/octet-stream' };
export const { signal } = new AbortController();

export function fresh(title: string): string {
  return `contract/${title}-${randomUUID()}`;
}

export function createSubject(store: () => BlobStore): Subject {
  return {
    store,
    create: (name, content) => store().create(name, Buffer.from(content), TYPE, signal),
    text: async (name) => Buffer.from(await store().read(name, { bytesMax: 30_000 }, signal)).toString(),
    async names(prefix) {
      const found = [];
      for await (const item of listAll(store(), prefix, signal)) found.push(item.name);
      return found;
    },
  };
}
