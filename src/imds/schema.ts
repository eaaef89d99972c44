import * as z from 'zod';

import { shownText } from '../base/shown.ts';

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

/**
 * What is in a document is told to shells, systemd, terminals and people, and nobody vouches for who answered. Azure's
 * ids are GUIDs and its types are words, so whatever else claims to be one is none.
 */
const word = (lengthMax: number) =>
  z
    .string()
    .regex(new RegExp(`^[!-~]{1,${lengthMax}}$`), `is not 1 to ${lengthMax} printable ASCII characters`);

/** Names and sentences, in any script. */
const text = (lengthMax: number) => z.string().transform((given) => shownText(given.slice(0, lengthMax)));

const NAME_MAX = 256;
/** Far more than a placement group can have. */
const RESOURCES_MAX = 2000;
const Id = word(128);

/** Of an entry that is broken otherwise. */
export const EntryId = z.object({ EventId: Id });
export type EntryId = z.infer<typeof EntryId>;

/** Who is hit, by what, and whether it has started can't be guessed; everything else can be missing. */
export const EventEntry = z.object({
  EventId: Id,
  EventType: word(64),
  EventStatus: z.enum(['Scheduled', 'Started']),
  Resources: z.array(text(NAME_MAX)).max(RESOURCES_MAX),
  NotBefore: z.unknown().optional(),
  EventSource: z.enum(['Platform', 'User']).optional().catch(undefined),
  Description: text(1024).catch(''),
  DurationInSeconds: z.number().optional().catch(undefined),
});
export type EventEntry = z.infer<typeof EventEntry>;

const Text = text(NAME_MAX).catch('');
/** Tags may have any characters: `checkpoint.key` refuses what doesn't fit there. */
const TAGS_MAX = 64 * 1024;

/**
 * The `compute` part of the instance document. Missing values are empty strings there.
 * Source: learn.microsoft.com/azure/virtual-machines/instance-metadata-service
 */
export const ComputeAnswer = z.object({
  name: z
    .string()
    .min(1)
    .max(NAME_MAX)
    .refine((name) => shownText(name) === name, 'has characters that are not to be seen'),
  vmId: Text,
  vmScaleSetName: Text,
  location: Text,
  zone: Text,
  tags: z.string().max(TAGS_MAX).catch(''),
  tagsList: z
    .array(z.object({ name: z.string(), value: z.string() }))
    .optional()
    .catch(undefined),
  priority: Text,
  evictionPolicy: Text,
});
export type ComputeAnswer = z.infer<typeof ComputeAnswer>;
