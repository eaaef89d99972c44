import type { SetActivity, SetTracker } from './progress.ts';
import type { SetOptions } from './scan.ts';
import type { SetFolder } from './set-folder.ts';
import type { FileVersion, SendContext } from './send-file.ts';
import type { StoredSet } from './stored-blobs.ts';
import { TRANSFER_LIMITS } from './transfer.ts';

/** What one stage or commit works with; disposing it closes the folder. */
export interface SetWork extends AsyncDisposable {
  readonly set: SetOptions;
  readonly folder: SetFolder;
  readonly send: SendContext;
  readonly stored: StoredSet;
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
}

/** By path: what was sent, or had been before. */
export type Versions = Map<string, FileVersion>;

/** As many as there may be requests: with latency only their number counts. */
export const FILES_IN_FLIGHT = TRANSFER_LIMITS.requestsMax;
