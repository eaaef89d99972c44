import type { SetActivity, SetTracker } from './progress.ts';
import type { SetOptions } from './scan.ts';
import type { FileVersion, SendContext } from './send-file.ts';
import type { StoredSet } from './stored-blobs.ts';

/** What one stage or commit works with. */
export interface SetWork {
  readonly set: SetOptions;
  readonly send: SendContext;
  readonly stored: StoredSet;
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
}

/** By path: what was sent, or had been before. */
export type Versions = Map<string, FileVersion>;

/** As many as there may be requests: with latency only their number counts. */
export const FILES_IN_FLIGHT = 64;
