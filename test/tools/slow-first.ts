import { type TestSpecification, BaseSequencer } from 'vitest/node';

/** They boot machines and build packages, which takes a minute or more and can't be seen by the size of a file. */
const SLOW = ['/test/systemd/debian-', '/test/packaging/package.', '/test/systemd/'] as const;

/** Vitest's order (what took long before, else what is large), but after what is known to be slow: else that is the tail. */
export class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other));
  }
}

function rank({ moduleId }: TestSpecification): number {
  const index = SLOW.findIndex((part) => moduleId.includes(part));
  return index === -1 ? SLOW.length : index;
}
