import * as z from 'zod';

/**
 * The Scheduled Events document, read for what is used and nothing more, so that new fields and types survive.
 * Entries stay unknown here: one that is broken must not take the others with it.
 * Source: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events ("Query for events")
 */
export const EventsAnswer = z.object({
  DocumentIncarnation: z.number().optional().catch(undefined),
  Events: z.array(z.unknown()),
});
export type EventsAnswer = z.infer<typeof EventsAnswer>;

/** Of an entry that is broken otherwise. */
export const EntryId = z.object({ EventId: z.string().min(1) });
export type EntryId = z.infer<typeof EntryId>;

/** Who is hit, by what, and whether it has started can't be guessed; everything else can be missing. */
export const EventEntry = z.object({
  EventId: z.string().min(1),
  EventType: z.string().min(1),
  EventStatus: z.enum(['Scheduled', 'Started']),
  Resources: z.array(z.string()),
  NotBefore: z.unknown().optional(),
  EventSource: z.enum(['Platform', 'User']).optional().catch(undefined),
  Description: z.string().catch(''),
  DurationInSeconds: z.number().optional().catch(undefined),
});
export type EventEntry = z.infer<typeof EventEntry>;

const Text = z.string().catch('');

/**
 * The `compute` part of the instance document. Missing values are empty strings there.
 * Source: learn.microsoft.com/azure/virtual-machines/instance-metadata-service
 */
export const ComputeAnswer = z.object({
  name: z.string().min(1),
  vmId: Text,
  vmScaleSetName: Text,
  location: Text,
  zone: Text,
  tags: Text,
  tagsList: z
    .array(z.object({ name: z.string(), value: z.string() }))
    .optional()
    .catch(undefined),
  priority: Text,
  evictionPolicy: Text,
});
export type ComputeAnswer = z.infer<typeof ComputeAnswer>;
