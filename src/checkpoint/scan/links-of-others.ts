import type { EvictdError } from '../../base/errors.ts';
import { type FollowOptions, expectFolder, isChangeable } from '../../base/files/open-following.ts';

/** A link that others than root and our user can change. */
export interface LinkOfOthers {
  readonly name: string;
  readonly owner: bigint;
}

/**
 * Lets a way to a folder go through links that others can change only if it ends in a folder of that link's owner:
 * otherwise they could lead us anywhere. `unsafe` makes the error for one that leads to a folder of `leadsTo`.
 */
export function refuseLinksOfOthers(
  unsafe: (link: LinkOfOthers, leadsTo: bigint) => EvictdError,
): Pick<FollowOptions, 'onStep' | 'onEnd'> {
  const links: LinkOfOthers[] = [];
  return {
    onStep(step) {
      const { name, entry } = step;
      if (entry?.isSymbolicLink() === true && isChangeable(step)) links.push({ name, owner: entry.uid });
    },
    onEnd(end) {
      expectFolder(end);
      // What is made below is ours: from there on the way can't be judged by who owns its end.
      const { uid } = end.folder;
      const link = links.splice(0).find(({ owner }) => owner === 0n || owner !== uid);
      if (link !== undefined) throw unsafe(link, uid);
    },
  };
}
