import { chown, lchown, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { SMALL_BYTES_MAX } from '../../src/checkpoint/block-size.ts';
import type { ListJob, LookJob } from '../../src/checkpoint/read-job.ts';
import { perform } from '../../src/checkpoint/read-thread.ts';
import type { Reader } from '../../src/checkpoint/reader.ts';
import { scanSmall } from '../../src/checkpoint/scan-small.ts';
import { openSetFolder } from '../../src/checkpoint/set-folder.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { commitJob, reader, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

/** More than what is read as a whole. */
const LARGE_BYTES = SMALL_BYTES_MAX + 1;
const SECRET = 'the secret of somebody else';

/** All that goes to the store as content. */
function watched(store: BlobStore, sent: Buffer[]): BlobStore {
  return {
    ...store,
    stageBlock: (name, id, body, signal) => {
      sent.push(Buffer.from(body));
      return store.stageBlock(name, id, body, signal);
    },
    put: (name, body, options, signal) => {
      sent.push(Buffer.from(body));
      return store.put(name, body, options, signal);
    },
  };
}

/** Job numbers from 1: each instant between two looks or reads. More than a commit of the tree below has. */
const INSTANTS = Array.from({ length: 12 }, (_, index) => index);

/** What looks at folders in a set of a few files, and in one of many. */
const lookers = {
  'without a thread': async (job: ListJob | LookJob) => (await scanSmall(job)) ?? perform(job),
  'as a thread does': async (job: ListJob | LookJob) => perform(job),
} as const;

test.for([
  ['a', 'without a thread'],
  ['a', 'as a thread does'],
  ['a/b', 'without a thread'],
  ['a/b', 'as a thread does'],
] as const)(
  'a workload that puts a link in place of its folder %s at any instant, looked at %s',
  async ([swapped, how]) => {
    await using field = await testFolder();
    const job = join(field.path, 'job');
    const outside = join(field.path, 'outside');
    const large = (text: string) => text.padEnd(LARGE_BYTES, text);
    const tree = (text: string) =>
      ({
        f: { kind: 'file', content: text },
        large: { kind: 'file', content: large(text) },
        'b/f': { kind: 'file', content: text },
        'b/large': { kind: 'file', content: large(text) },
        'b/link': { kind: 'link', target: text },
      }) as const;
    await writeTree(outside, tree(SECRET));
    for (const instant of INSTANTS) {
      const path = join(job, String(instant));
      await writeTree(join(path, 'a'), tree('x'.repeat(SECRET.length)));
      let jobs = 0;
      const disturbed: Reader = {
        ...reader,
        async run(order, signal) {
          if (jobs++ === instant) {
            await rename(join(path, swapped), join(path, 'moved'));
            await symlink(outside, join(path, swapped));
          }
          return order.kind === 'list' || order.kind === 'look'
            ? lookers[how](order)
            : reader.run(order, signal);
        },
      };
      const sent: Buffer[] = [];
      const service = createMemoryService();
      const checkpointer = testCheckpointer(watched(service.connect(), sent), path, { reader: disturbed });
      const result = await commitJob(checkpointer);
      expect(sent.some((body) => body.includes(SECRET))).toBe(false);
      expect(result).toMatchObject({ kind: 'committed' });
      const target = join(field.path, `restored-${instant}`);
      await restoreJob(service.connect(), target);
      const restored = await readTree(target);
      // Either the folder or the link, never the link with what it leads to.
      if (restored[swapped]?.startsWith('link') !== true) continue;
      expect(Object.keys(restored).filter((name) => name.startsWith(`${swapped}/`))).toEqual([]);
    }
  },
);

test.runIf(process.getuid?.() === 0)(
  'a link on the way to the set is followed as far as who can change it may read',
  async () => {
    await using field = await testFolder();
    const home = join(field.path, 'home');
    await mkdir(join(home, 'real'), { recursive: true });
    await mkdir(join(field.path, 'secret'));
    await writeFile(join(field.path, 'secret/f'), SECRET);
    await chown(home, 1000, 1000);
    await chown(join(home, 'real'), 1000, 1000);
    const link = async (name: string, target: string, owner: number) => {
      await symlink(target, join(home, name));
      await lchown(join(home, name), owner, owner);
      return openSetFolder({ name: 'job', path: join(home, name) }).then(
        async (folder) => folder[Symbol.asyncDispose](),
        (error: unknown) => error,
      );
    };
    expect(await link('own', 'real', 1000)).toBeUndefined();
    expect(await link('others', '../secret', 1000)).toMatchObject({ code: 'unsafe-link' });
    expect(await link('absolute', join(field.path, 'secret'), 1000)).toMatchObject({ code: 'unsafe-link' });
    // The folder is theirs, so they can put another one in the place of root's.
    expect(await link('by-root', '../secret', 0)).toMatchObject({ code: 'unsafe-link' });
    expect(await link('chain', 'others', 1000)).toMatchObject({ code: 'unsafe-link' });
    expect(await link('circle', 'circle', 1000)).toMatchObject({ code: 'set-path-missing' });
    await symlink(join(home, 'real'), join(field.path, 'admin'));
    await (await openSetFolder({ name: 'job', path: join(field.path, 'admin') }))[Symbol.asyncDispose]();
  },
);
