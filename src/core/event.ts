import type { WallMs } from '../base/clock.ts';

/**
 * A scheduled event as IMDS announces it, after parsing at the edge.
 * Source: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
 */
export interface ScheduledEvent {
  /** As sent; compare by `eventKey`. */
  readonly id: string;
  /** An open set: `Preempt`, `Terminate`, `Reboot`, `Redeploy`, `Freeze`, `SpotRebalanceRecommendation`, … */
  readonly type: string;
  /** There is no Completed or Cancelled: a finished or withdrawn event just disappears. */
  readonly status: 'Scheduled' | 'Started';
  /** VM names (`compute.name`) of everyone the event hits, and for whom an ack speaks. */
  readonly resources: readonly string[];
  /** Server wall time in whole seconds; undefined when empty (the rule once Started) or unreadable. */
  readonly notBefore: WallMs | undefined;
  readonly source: 'Platform' | 'User' | undefined;
  readonly description: string;
  /** Seconds of impact; -1 unknown. */
  readonly durationSeconds: number | undefined;
}

/** One answer of the Scheduled Events endpoint that could be read. */
export interface EventDocument {
  readonly incarnation: number | undefined;
  /** The answer's `Date` header: "now" of the clock that also made `notBefore`. */
  readonly serverNow: WallMs | undefined;
  readonly events: readonly ScheduledEvent[];
  /** Ids of entries that were left out because they were otherwise broken: they are there all the same. */
  readonly brokenIds: readonly string[];
  /**
   * False when entries had to be left out that don't even tell their id.
   * Such a document can announce an event, but can't prove that one is gone.
   */
  readonly complete: boolean;
}

/** Event ids are GUIDs in upper or lower case. */
export function eventKey(id: string): string {
  return id.toLowerCase();
}

/** Does the event name this VM? ARM names are case-insensitive. */
export function concerns(event: ScheduledEvent, vmName: string): boolean {
  const own = vmName.toLowerCase();
  return event.resources.some((resource) => resource.toLowerCase() === own);
}

/** Does the event also name other VMs? An ack would approve it for all of them. */
export function isShared(event: ScheduledEvent, vmName: string): boolean {
  const own = vmName.toLowerCase();
  return event.resources.some((resource) => resource.toLowerCase() !== own);
}
