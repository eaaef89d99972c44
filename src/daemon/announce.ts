import type { Clock } from '../base/clock.ts';
import type { Hello, Notice } from '../control/protocol.ts';
import type { Effect } from '../core/effect.ts';
import type { ScheduledEvent } from '../core/event.ts';
import type { State } from '../core/state.ts';
import { eventDocument } from '../core/event-document.ts';
import { phaseOf } from './status.ts';

/** What a client of the event stream is told first. */
export function helloOf(state: State, evictdVersion: string, clock: Clock): Hello {
  const { drain, vmName } = state;
  const isAhead = drain !== undefined && drain.phase !== 'withdrawn' && drain.phase !== 'resuming';
  return {
    version: 1,
    evictdVersion,
    ...(vmName === undefined ? {} : { vmName }),
    phase: phaseOf(state),
    ...(isAhead ? { notice: noticeOf(drain.event, drain.deadlineAt, clock) } : {}),
  };
}

/** Tells the clients of the event streams what a decision's note means for them, which may be nothing. */
export function announce(
  { code, fields }: Extract<Effect, { kind: 'note' }>,
  state: State,
  clock: Clock,
  broadcast: (event: string, data: unknown) => void,
): void {
  const eventId = state.drain?.event.id;
  switch (code) {
    case 'event-noticed':
    case 'event-tightened': {
      const watched = state.watched.find(({ event }) => event.id === fields['eventId']);
      if (watched?.deadlineAt !== undefined) {
        broadcast('notice', noticeOf(watched.event, watched.deadlineAt, clock));
      }
      break;
    }
    case 'phase': {
      const { phase, leftMs } = fields;
      const secondsLeft = typeof leftMs === 'number' ? seconds(leftMs) : undefined;
      broadcast('phase', { phase, eventId, secondsLeft });
      if (phase === 'resuming') broadcast('resume', { eventId });
      break;
    }
    case 'event-of-other':
    case 'peer-noticed': {
      const peer = state.peers.find(({ event }) => event.id === fields['eventId']);
      if (peer !== undefined) broadcast('peer-notice', { event: eventDocument(peer.event) });
      break;
    }
    case 'watching-again':
      broadcast('phase', { phase: phaseOf(state) });
      break;
    default:
  }
}

function noticeOf(event: ScheduledEvent, deadlineAt: number, clock: Clock): Notice {
  const leftMs = deadlineAt - clock.monotonicMs();
  const document = eventDocument(event);
  return {
    event: document,
    deadline: new Date(clock.wallMs() + leftMs).toISOString(),
    secondsLeft: seconds(leftMs),
  };
}

function seconds(ms: number): number {
  return Math.max(0, Math.round(ms / 100) / 10);
}
