import type { Clock } from '../base/clock.ts';
import { buildInfo } from '../base/version.ts';
import type { Poller } from '../imds/poller.ts';
import type { Snapshot } from '../observe/metrics.ts';
import type { Assembly } from './assemble.ts';
import { isBlind } from './protection.ts';
import { type Status, phaseShown, statusOf, windowLeftMs } from './status.ts';

/** A daemon whose polls are under way. */
export interface Running {
  readonly parts: Assembly;
  readonly poller: Poller;
}

/** What it answers to `evictd status`. */
export function shownStatus(
  { parts, poller }: Running,
  { clock, dryRun }: { readonly clock: Clock; readonly dryRun: boolean },
): Status {
  return statusOf({
    now: clock.monotonicMs(),
    wallNow: clock.wallMs(),
    state: parts.loop.state(),
    evictdVersion: buildInfo().version,
    dryRun,
    poll: poller.health(),
    pollError: parts.pollLog.lastError(),
    stateProblem: parts.stateLog.problem(),
    policy: parts.hooks.policy(),
    progress: parts.checkpoints?.progress() ?? [],
    upload: parts.checkpoints?.estimate(),
    store: parts.checkpoints?.status(),
  });
}

/** What is measured at a scrape. */
export function snapshotOf({ parts, poller }: Running, clock: Clock): Snapshot {
  const now = clock.monotonicMs();
  const state = parts.loop.state();
  const lastGoodPollAgoMs = goodPollAgoMs(poller, clock);
  return {
    phase: phaseShown(state, lastGoodPollAgoMs),
    isBlind: isBlind(lastGoodPollAgoMs),
    windowLeftMs: windowLeftMs(state, now),
    lastGoodPollAgoMs,
    isStateWritable: parts.stateLog.problem() === undefined,
    progress: parts.checkpoints?.progress() ?? [],
    upload: parts.checkpoints?.estimate(),
    storeReady: parts.checkpoints?.status().ready,
    wallNow: clock.wallMs(),
  };
}

/** Since the newest good answer of the metadata service; undefined when there was none. */
export function goodPollAgoMs(poller: Poller, clock: Clock): number | undefined {
  const { lastGoodAt } = poller.health();
  return lastGoodAt === undefined ? undefined : clock.monotonicMs() - lastGoodAt;
}
