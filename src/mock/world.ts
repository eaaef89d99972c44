import type { Clock, MonotonicMs, WallMs } from '../base/clock.ts';
import { createEventBoard, type EventBoard, type EventChange, type MockEvent } from './event-board.ts';
import { createFaults, type Faults } from './faults.ts';
import type { FaultSpec, Scenario } from './schema.ts';

/** A request that the mock has seen. */
export interface RequestEntry {
  readonly number: number;
  /** By this machine's clock. */
  readonly at: WallMs;
  readonly method: string;
  /** Path and query, cut to 500 characters. */
  readonly path: string;
  readonly apiVersion: string | undefined;
  /** `open`: not answered yet; `dropped`: it ended without a whole answer. */
  readonly outcome: 'open' | 'answered' | 'dropped';
  readonly status: number | undefined;
}

/** An event id that a client has approved. */
export interface AckEntry {
  readonly at: WallMs;
  readonly eventId: string;
  /** False when no such event was ever announced; that one was refused. */
  readonly known: boolean;
  readonly requestNumber: number;
}

/** What happened, in order; for whoever subscribes. */
export type Activity =
  | { readonly kind: 'request'; readonly request: RequestEntry }
  | { readonly kind: 'answer'; readonly request: RequestEntry }
  | { readonly kind: 'ack'; readonly ack: AckEntry }
  | {
      readonly kind: 'event';
      readonly change: EventChange;
      readonly event: MockEvent;
      readonly incarnation: number;
    }
  | { readonly kind: 'fault'; readonly fault: FaultSpec }
  | { readonly kind: 'clock'; readonly shiftMs: number }
  | { readonly kind: 'problem'; readonly message: string };

/** Everything that a running mock consists of, without its server. */
export interface World {
  readonly scenario: Scenario;
  readonly clock: Clock;
  readonly board: EventBoard;
  readonly faults: Faults;
  readonly listeners: Set<(activity: Activity) => void>;
  readonly requests: RequestEntry[];
  readonly acks: AckEntry[];
  /** When requests were let through, of the last second; for the rate limits. */
  readonly recentAt: MonotonicMs[];
  readonly recentTokensAt: MonotonicMs[];
  requestCount: number;
  shiftMs: number;
  /** When the first events question came; the service is enabled some time after it. */
  firstAskedAt: MonotonicMs | undefined;
}

const LOG_ENTRIES_MAX = 5000;
const PATH_CHARACTERS_MAX = 500;

export function createWorld(scenario: Scenario, clock: Clock): World {
  const listeners: World['listeners'] = new Set();
  const board = createEventBoard(
    {
      vmName: scenario.vm.name,
      startAfterAckMs: scenario.service.startAfterAck,
      startedForMs: scenario.service.startedFor,
    },
    {
      clock,
      onChange: (change, event) =>
        publish(world, { kind: 'event', change, event, incarnation: board.incarnation() }),
    },
  );
  const world: World = {
    scenario,
    clock,
    board,
    faults: createFaults(clock),
    listeners,
    requests: [],
    acks: [],
    recentAt: [],
    recentTokensAt: [],
    requestCount: 0,
    shiftMs: 0,
    firstAskedAt: undefined,
  };
  return world;
}

/** "Now" by the clock of the mocked service. */
export function serverNow(world: World): WallMs {
  return world.clock.wallMs() + world.shiftMs;
}

export function publish(world: World, activity: Activity): void {
  for (const listener of world.listeners) listener(activity);
}

/** Notes a request as it comes in; answers its number. */
export function noteRequest(world: World, method: string, path: string, apiVersion: string | null): number {
  world.requestCount += 1;
  const request: RequestEntry = {
    number: world.requestCount,
    at: world.clock.wallMs(),
    method,
    path: path.slice(0, PATH_CHARACTERS_MAX),
    apiVersion: apiVersion?.slice(0, PATH_CHARACTERS_MAX),
    outcome: 'open',
    status: undefined,
  };
  keep(world.requests, request);
  publish(world, { kind: 'request', request });
  return request.number;
}

/** Notes how a request ended; a status stands for a whole answer. */
export function noteAnswer(world: World, number: number, status: number | undefined): void {
  const index = world.requests.findIndex((request) => request.number === number);
  const open = world.requests[index];
  // Gone from the bounded log, or noted already.
  if (open === undefined || open.outcome !== 'open') return;
  const request: RequestEntry = { ...open, outcome: status === undefined ? 'dropped' : 'answered', status };
  world.requests[index] = request;
  publish(world, { kind: 'answer', request });
}

export function noteAck(world: World, ack: AckEntry): void {
  keep(world.acks, ack);
  publish(world, { kind: 'ack', ack });
}

function keep<Entry>(entries: Entry[], entry: Entry): void {
  entries.push(entry);
  if (entries.length > LOG_ENTRIES_MAX) entries.shift();
}
