import type { ScheduledEvent } from '../../src/core/event.ts';
import type { HookRequest } from '../../src/core/ports.ts';

export const EVENT: ScheduledEvent = {
  id: 'A123BC45-1234-5678-AB90-ABCDEF123456',
  type: 'Preempt',
  status: 'Scheduled',
  resources: ['fleet_2', 'fleet_3'],
  notBefore: Date.UTC(2026, 8, 19, 18, 29, 47),
  source: 'Platform',
  description: 'Virtual machine is going to be evicted',
  durationSeconds: -1,
};

export function request(name: string, changes: Partial<HookRequest> = {}): HookRequest {
  return {
    name,
    drainId: `${EVENT.id}@1`,
    event: EVENT,
    stage: 'before-checkpoint',
    attempt: 1,
    timeoutMs: 10_000,
    windowLeftMs: 25_000,
    checkpoint: undefined,
    drill: false,
    ...changes,
  };
}
