import type { ScheduledEvent } from './event.ts';

/**
 * The event as Azure writes it.
 * Source: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events, "Query for events"
 */
export function eventDocument(event: ScheduledEvent) {
  return {
    EventId: event.id,
    EventType: event.type,
    ResourceType: 'VirtualMachine',
    Resources: event.resources,
    EventStatus: event.status,
    NotBefore: event.notBefore === undefined ? '' : new Date(event.notBefore).toUTCString(),
    Description: event.description,
    EventSource: event.source,
    // -1 is the service's own word for unknown.
    DurationInSeconds: event.durationSeconds ?? -1,
  };
}
