import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

import { FOLDER_FLAGS, locationOf, openFolders } from '../../../base/files/beneath.ts';

/*
 * Each job opens its way from a root to the folders that it is about. From the set's own folder that would cost the
 * square of the depth in a tree of two thousand levels, so deeper folders are kept open as further roots.
 */

/** An open folder from which jobs find their way. */
export interface Anchor {
  /** For node:fs; see `locationOf`. */
  readonly location: string;
  /** Of the folder, relative to the set. */
  readonly path: string;
  readonly depth: number;
  /** Once nobody holds it any more it is closed. */
  hold(): void;
  release(): void;
}

/** So many levels below its anchor, a folder becomes one. */
export const LEVELS_MAX = 16;

/** The set's own folder: who has it open closes it. */
export function setAnchor(location: string): Anchor {
  return { location, path: '', depth: 0, hold: () => undefined, release: () => undefined };
}

/** Where something is, from the anchor. */
export function fromAnchor(anchor: Anchor, path: string): string {
  return anchor.path === '' ? path : path.slice(anchor.path.length + 1);
}

/** Opens a folder below another anchor; it is held once. Rejects with the system's error. */
export async function openAnchor(from: Anchor, path: string, depth: number): Promise<Anchor> {
  await using between = openFolders(from.location);
  // The folder is open already: this only makes it a descriptor of its own.
  const handle = await open(await between.at(fromAnchor(from, path)), FOLDER_FLAGS & ~constants.O_NOFOLLOW);
  let holders = 1;
  return {
    location: locationOf(handle.fd),
    path,
    depth,
    hold: () => void holders++,
    release: () => {
      // Nothing was written to it, so closing it can't fail in a way that counts.
      if (--holders === 0) void handle.close();
    },
  };
}
