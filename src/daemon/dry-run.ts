import type { AckResult, HookRunner } from '../core/ports.ts';
import type { Log } from '../observe/log.ts';
import { type CheckpointHost, emptyProgress } from './checkpoint-host.ts';
import { dryNoteOf } from './notes.ts';

/** Says which hook would run, and takes it as having succeeded, so that the whole drain can be seen. */
export function createDryHooks(log: Log): HookRunner {
  return {
    async run({ name, stage, attempt, timeoutMs, event }) {
      log.info('dry run: would run the hook', {
        hook: name,
        stage,
        attempt,
        timeoutMs: Math.round(timeoutMs),
        eventId: event.id,
      });
      return { kind: 'succeeded', durationMs: 0 };
    },
  };
}

/** Says which set would be saved; touches neither the files nor the store. */
export function createDryCheckpoints(
  sets: readonly { readonly name: string; readonly path: string }[],
  log: Log,
): CheckpointHost {
  return {
    async stage() {},
    async commit({ set, reason }) {
      const path = sets.find(({ name }) => name === set)?.path;
      log.info('dry run: would commit a checkpoint', { set, path, reason });
      return { kind: 'committed', id: 'dry-run', files: 0, bytes: 0, bytesSent: 0, durationMs: 0 };
    },
    async writeReport({ eventId }) {
      log.info('dry run: would store the report of the drain', { eventId });
    },
    estimate: () => ({ bytesLeft: 0, bytesPerSecond: undefined }),
    progress: () => sets.map(({ name }) => emptyProgress(name)),
    status: () => ({ ready: true, error: undefined, remedy: undefined }),
    problem: () => undefined,
    async synced() {},
    async stop() {},
  };
}

/** Says which event would be acknowledged, and takes it as accepted. */
function dryAcknowledge(log: Log): (eventId: string) => Promise<AckResult> {
  return async (eventId) => {
    log.info('dry run: would acknowledge', { eventId });
    return { kind: 'accepted' };
  };
}

/** What of a daemon's deeds is another one in a dry run, beside hooks and checkpoints. */
export function dryDeeds(log: Log) {
  return { acknowledge: dryAcknowledge(log), noteOf: dryNoteOf };
}
