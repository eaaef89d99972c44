import * as z from 'zod';

import { ACK_POLICIES, type AckPolicy, type EventPolicy } from '../core/policy.ts';
import { nearest } from './nearest.ts';
import { choice, flag, isEventType } from './schema-leaf.ts';

/**
 * What each known type means unless the config says otherwise.
 * Types: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events, "Event properties".
 */
const EVENT_DEFAULTS = {
  Preempt: { drain: true, ack: 'after-success', checkpoint: false },
  Terminate: { drain: true, ack: 'after-success', checkpoint: false },
  Reboot: { drain: false, ack: 'user-initiated', checkpoint: false },
  Redeploy: { drain: false, ack: 'user-initiated', checkpoint: false },
  Freeze: { drain: false, ack: 'never', checkpoint: false },
  SpotRebalanceRecommendation: { drain: false, ack: 'never', checkpoint: true },
} as const satisfies Record<string, EventPolicy>;

export const KNOWN_EVENT_TYPES: readonly string[] = Object.keys(EVENT_DEFAULTS);

const EventsFile = z
  .object({
    Preempt: eventType(EVENT_DEFAULTS.Preempt, 'Eviction of a Spot VM.'),
    Terminate: eventType(EVENT_DEFAULTS.Terminate, 'Deletion of a scale set instance.'),
    Reboot: eventType(
      EVENT_DEFAULTS.Reboot,
      "Restart. Polling makes a user's restart wait up to 15 minutes unless it is acknowledged.",
    ),
    Redeploy: eventType(EVENT_DEFAULTS.Redeploy, 'Move to another host; the temporary disk is lost.'),
    Freeze: eventType(EVENT_DEFAULTS.Freeze, 'Pause of some seconds.'),
    SpotRebalanceRecommendation: eventType(
      EVENT_DEFAULTS.SpotRebalanceRecommendation,
      'An eviction has become more likely.',
    ),
    ackShared: flag(
      'May an event that also names other VMs be acknowledged? It approves it for all of them.',
    ).default(false),
  })
  .catchall(eventType({ drain: false, ack: 'never', checkpoint: false }, 'Any other type.'))
  .superRefine((events, context) => {
    const known = [...KNOWN_EVENT_TYPES, 'ackShared'];
    for (const type of Object.keys(events).filter((key) => !known.includes(key))) {
      const near = nearest(type, known);
      // Azure may announce new types at any time, but one letter off is a slip that would silently change nothing.
      if (isEventType(type) && near === undefined) continue;
      const hint = near === undefined ? '' : `; did you mean "${near}"?`;
      context.addIssue({
        code: 'custom',
        path: [type],
        message: `not an event type${hint}`,
        params: { isKey: true },
      });
    }
  });

/** By type, and apart from it the one setting for all types. */
export interface EventsConfig {
  readonly ackShared: boolean;
  readonly types: Readonly<Record<string, EventPolicy>>;
}

export const Events = z.codec(EventsFile, z.custom<EventsConfig>(), {
  decode: ({ ackShared, ...types }) => ({ ackShared, types }),
  // The file's type wants every known key by name; a parsed config always has them, as decode put them there.
  encode: ({ ackShared, types }) => ({ ackShared, ...types }) as unknown as z.output<typeof EventsFile>,
});

function eventType(defaults: { drain: boolean; ack: AckPolicy; checkpoint: boolean }, description: string) {
  return z
    .strictObject({
      drain: flag('Run the hooks and take the checkpoints.').default(defaults.drain),
      ack: choice(
        ACK_POLICIES,
        'When to acknowledge: after a successful drain, in any case at its end, at once if a user asked for the event, or never.',
      ).default(defaults.ack),
      checkpoint: flag('Take a checkpoint when it is announced, also without a drain.').default(
        defaults.checkpoint,
      ),
    })
    .prefault({})
    .meta({ description });
}
