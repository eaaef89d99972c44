import { afterAll, beforeAll, describe } from 'vitest';

import { abortTests, contentTests, listTests } from './store-rules-read.ts';
import { immutableTests, mutableTests, nameTests, writeTests } from './store-rules-write.ts';
import { type AccountTraits, type StoreUnderTest, createSubject } from './store-subject.ts';

/** What every `BlobStore` does, on an existing container. */
export function describeBlobStore(
  title: string,
  open: () => Promise<StoreUnderTest>,
  traits: AccountTraits = {},
): void {
  describe(`blob store contract: ${title}`, () => {
    let opened: StoreUnderTest;
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(() => opened.close?.());
    const subject = createSubject(() => opened.store);
    contentTests(subject);
    writeTests(subject, traits);
    nameTests(subject);
    (traits.isImmutable === true ? immutableTests : mutableTests)(subject, traits);
    listTests(subject);
    abortTests(subject);
  });
}
