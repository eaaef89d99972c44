import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { blockRules } from './store-rules-blocks.ts';
import { contentRules } from './store-rules-content.ts';
import { togetherRules } from './store-rules-together.ts';
import { versionRules } from './store-rules-versions.ts';
import { type StoreUnderTest, type Topic, createSubject } from './store-subject.ts';

const REAL_LIST = 'it lists the real place';

/** Which rules a kind of store doesn't keep, each with the reason why it needn't. */
const EXCEPT = {
  Azurite: { 'whole writes': 'Azurite 3.37 keeps the staged blocks, which Azure drops' },
  'Azurite with a signature': {
    snapshots:
      'under the signature of a container Azurite 3.37 refuses all of any snapshot, which Azure allows',
  },
  'by key': { 'writes together': 'each request is signed by itself' },
  'lost answers': { 'snapshot lists': 'a snapshot whose answer was lost is made once more' },
  zstd: {
    ranges: 'a range is made of whole frames, whose lengths the manifest has',
    sizes: 'sizes are those of frames',
    'writes together': 'nothing is gained by it: each is compressed by itself',
  },
  rehearsal: {
    conditions: 'nobody else writes there',
    staging: 'its blobs hold only the blocks that were sent for them',
    removal: 'what it wrote is removed by cleanUpDrill',
    lists: REAL_LIST,
    'snapshot lists': REAL_LIST,
  },
} satisfies Record<string, Partial<Record<Topic, string>>>;

/** What every `BlobStore` does. `open` makes one on an existing container. */
export function describeBlobStore(
  title: string,
  open: () => Promise<StoreUnderTest>,
  ...kinds: readonly (keyof typeof EXCEPT)[]
): void {
  describe(`blob store contract: ${title}`, () => {
    let opened: StoreUnderTest;
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(() => opened.close?.());
    const subject = createSubject(() => opened);
    const rules = [
      ...contentRules(subject),
      ...blockRules(subject),
      ...versionRules(subject),
      ...togetherRules(subject),
    ];
    const excepted = new Set(kinds.flatMap((kind) => Object.keys(EXCEPT[kind])));
    const kept = rules.filter(({ topics }) => !topics.some((topic) => excepted.has(topic)));
    test.for(kept.map(({ title: name, run }) => [name, run] as const))('%s', async ([, run]) => {
      expect.hasAssertions();
      await run();
    });
  });
}
