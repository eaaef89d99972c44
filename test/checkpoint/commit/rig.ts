import { createGate } from '../../../src/base/concurrency.ts';
import type { EvictdError } from '../../../src/base/errors.ts';
import type { Manifest } from '../../../src/checkpoint/format/manifest.ts';
import type { SendItem } from '../../../src/checkpoint/pack/sender.ts';
import type { Workers } from '../../../src/checkpoint/worker/workers.ts';
import { SET_PREFIX, never } from '../../support/checkpoints.ts';
import { changeFile, pattern } from '../../support/file-tree.ts';
import {
  type BlobHooks,
  type MemoryBlobs,
  type MemoryClient,
  storeError,
} from '../../support/memory-blobs.ts';

export const MIB = 1024 ** 2;
/** Larger than what one thread reads at once, so that a change can come between two parts of it. */
export const LARGE = 40 * MIB;

export interface Meddling {
  before?(paths: readonly string[], items: readonly SendItem[]): Promise<void> | void;
  after?(paths: readonly string[]): Promise<void> | void;
}

/** Does something before or after each part of files that is read, with the paths in it. */
export function meddling(act: Meddling) {
  return (workers: Workers): Workers => ({
    ...workers,
    async openSender(thread, options, onPack) {
      const sender = await workers.openSender(thread, options, onPack);
      return {
        ...sender,
        async feed(items, seqs, signal) {
          const paths = items.map(({ path }) => path);
          await act.before?.(paths, items);
          try {
            return await sender.feed(items, seqs, signal);
          } finally {
            await act.after?.(paths);
          }
        },
      };
    },
  });
}

export function afterReading(after: Meddling['after'] & object) {
  return meddling({ after });
}

/** Files that the kernel doesn't give, for such a reason. */
export function failing(isBad: (path: string) => boolean, errno = 'EIO') {
  return (workers: Workers): Workers => ({
    ...workers,
    async openSender(thread, options, onPack) {
      const sender = await workers.openSender(thread, options, onPack);
      return {
        ...sender,
        async feed(items, seqs, signal) {
          const results = await sender.feed(items, seqs, signal);
          return results.map((result, index) =>
            isBad(items[index]?.path ?? '')
              ? ({ kind: 'failed', errno, message: `${errno}: as a test wants it` } as const)
              : result,
          );
        },
      };
    },
  });
}

/** `path`, which is LARGE, is another one for each part of it that is read, while it is told to be busy. */
export function busyFile(path: string) {
  const state = { isBusy: true };
  const name = path.slice(path.lastIndexOf('/') + 1);
  const gate = createGate({ placesMax: 1, weightMax: 1 });
  const inside: Disposable[] = [];
  let writes = 0;
  const workers = meddling({
    async before(paths) {
      if (!paths.includes(name)) return;
      inside.push(await gate.enter(1, never()));
      if (state.isBusy) await changeFile(path, pattern(LARGE, ++writes));
    },
    after: (paths) => (paths.includes(name) ? inside.pop()?.[Symbol.dispose]() : undefined),
  });
  return { state, workers };
}

/** What was told, by its code. */
export function noting() {
  const codes: string[] = [];
  const messages: string[] = [];
  const onNote = (_set: string, { code, message }: EvictdError) => {
    codes.push(code);
    messages.push(message);
  };
  return { codes, messages, onNote };
}

/** A process that dies at its n-th call: from then on nothing it does reaches the service. */
export function dieAt(callNumber: number, when: 'before' | 'after'): BlobHooks {
  let isDead = false;
  const die = () => {
    isDead = true;
    throw storeError('network', 'the process is dead');
  };
  return {
    before(_call, number) {
      if (isDead || (when === 'before' && number === callNumber)) die();
    },
    after(_call, number) {
      if (isDead || (when === 'after' && number === callNumber)) die();
    },
  };
}

export const packNames = (blobs: MemoryBlobs) =>
  blobs.names().filter((name) => name.startsWith(`${SET_PREFIX}packs/`));

export const entryBlob = (id: string) => `${SET_PREFIX}checkpoints/${id}.json`;

export const entryIds = (blobs: MemoryBlobs) =>
  blobs.names().flatMap((name) => /checkpoints\/(\d+)\.json$/.exec(name)?.[1] ?? []);

/** Of packs that were sent, so far. */
export function packBytes({ calls }: MemoryClient): number {
  const packs = calls.filter(({ operation, name }) => operation === 'create' && name.includes('/packs/'));
  return packs.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** As a blob of JSON says, before anybody checked it. */
export function manifestOf(blobs: MemoryBlobs, id: string): Manifest {
  // Written by the engine, whose own parser took it.
  return JSON.parse(String(blobs.content(entryBlob(id)))) as Manifest;
}
