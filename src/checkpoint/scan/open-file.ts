import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { fsPath } from '../format/path-name.ts';
import { createChain, FOLDER_FLAGS, locationOf } from './beneath.ts';

/** As FoldersBeneath, for work with pauses. Ask for one after the other. */
export interface OpenFolders extends AsyncDisposable {
  /** Rejects with the system's error, ENOTDIR for a link. */
  at(path: string): Promise<string>;
}

export function openFolders(location: string): OpenFolders {
  const closing: Promise<void>[] = [];
  const chain = createChain((folder: FileHandle) => void closing.push(folder.close()));
  const innermost = () => {
    const folder = chain.innermost();
    return folder === undefined ? location : locationOf(folder.fd);
  };
  return {
    async at(path) {
      for (const name of chain.missing(path))
        chain.add(name, await open(fsPath(innermost(), name), FOLDER_FLAGS));
      chain.reached(path);
      await Promise.all(closing.splice(0));
      return innermost();
    },
    async [Symbol.asyncDispose]() {
      chain.closeAll();
      await Promise.all(closing);
    },
  };
}
