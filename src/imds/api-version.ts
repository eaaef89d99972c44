import type { Clock, MonotonicMs } from '../base/clock.ts';

/** Adds `SpotRebalanceRecommendation`; a preview that is not offered everywhere. */
export const NEWEST_VERSION = '2024-07-09';
/** The documented current version, offered everywhere. */
export const FALLBACK_VERSION = '2020-07-01';

const PROBE_INTERVAL_MS = 3_600_000;
/** After this many polls without a document in turn, every other one asks with the other version. */
const ASKS_IN_VAIN = 5;

/**
 * Which version of the Scheduled Events API to ask with.
 * Source: learn.microsoft.com/azure/virtual-machines/spot-eviction-risk-notifications
 */
export interface VersionChooser {
  /** The version for the next poll. */
  next(): string;
  /** The version for an acknowledgement. */
  settled(): string;
  /** What to ask with at once when `version` was answered with `status`; undefined: take the answer as it is. */
  instead(version: string, status: number): string | undefined;
  /** `version` gave a document, asked for at `sentAt`. */
  worked(version: string, sentAt: MonotonicMs): void;
}

/** `auto` prefers the newest version and falls back where it is not offered; any other version is taken as given. */
export function createVersionChooser(apiVersion: string, clock: Clock): VersionChooser {
  if (apiVersion !== 'auto') {
    return { next: () => apiVersion, settled: () => apiVersion, instead: () => undefined, worked() {} };
  }
  let choice: { readonly version: string; readonly at: MonotonicMs } | undefined;
  let probedAt: MonotonicMs | undefined;
  let asksSinceGood = 0;
  return {
    next() {
      const now = clock.monotonicMs();
      asksSinceGood++;
      // A preview that hangs or fails in another way than by 400 or 404 must not blind the daemon.
      if (asksSinceGood > ASKS_IN_VAIN && asksSinceGood % 2 === 0) return other(choice?.version);
      const due = probedAt === undefined || now - probedAt >= PROBE_INTERVAL_MS;
      if (choice?.version === FALLBACK_VERSION && !due) return FALLBACK_VERSION;
      // Noted at the start: a probe that hangs must not be followed by another on every poll.
      probedAt = now;
      return NEWEST_VERSION;
    },
    settled: () => choice?.version ?? FALLBACK_VERSION,
    instead(version, status) {
      // 400 and 404 both stand for "not offered", but at boot a 404 also means "not yet": so the
      // fallback has to give a document before anything is settled, and only until the next probe.
      if (status !== 400 && status !== 404) return undefined;
      if (version === NEWEST_VERSION) return FALLBACK_VERSION;
      choice = undefined;
      return undefined;
    },
    worked(version, sentAt) {
      asksSinceGood = 0;
      const newestSince = choice?.version === NEWEST_VERSION && choice.at >= sentAt;
      if (version === FALLBACK_VERSION && newestSince) return;
      choice = { version, at: clock.monotonicMs() };
    },
  };
}

function other(version: string | undefined): string {
  return version === FALLBACK_VERSION ? NEWEST_VERSION : FALLBACK_VERSION;
}
