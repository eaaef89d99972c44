import { closeSync, constants, openSync } from 'node:fs';

import { EvictdError } from '../../../base/errors.ts';
import { syncFolder } from './place-entries.ts';
import { withFileError } from './temporary.ts';
import type { Target } from './open-target.ts';
import type { SystemCalls } from './system-calls.ts';

/** What is written gets to the disk by it. */
export interface Disk extends Disposable {
  /** `none`: nobody waits for the disk. `each`: `sync` can't see to all files at once, so each has to be synced. */
  readonly how: 'none' | 'each' | 'all';
  /** Waits. Throws `file-failed` when the disk fails. */
  sync(): void;
}

/**
 * One sync of the file system for some thousands of files, where there is a way to ask for it: one for each small file
 * takes longer than all else together.
 */
export function openDisk({ location, shown }: Target, durable: boolean, system: SystemCalls): Disk {
  if (!durable) {
    return { how: 'none', sync: () => undefined, [Symbol.dispose]: () => undefined };
  }
  const flags = constants.O_RDONLY | constants.O_DIRECTORY;
  const fd = withFileError(shown, () => openSync(`${location}/.`, flags));
  const canSyncAll = system.syncAll(fd);
  return {
    how: canSyncAll ? 'all' : 'each',
    sync() {
      if (!canSyncAll) syncFolder(location);
      else if (!system.syncAll(fd)) {
        throw new EvictdError('file-failed', 'what was restored could not be written to the disk', {
          remedy: 'check the disk and the log of the kernel, then restore again',
        });
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}
