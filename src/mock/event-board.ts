import { randomUUID } from 'node:crypto';

import type { Clock, WallMs } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import type { EventSpec } from './schema.ts';

/** An announced event. */
export interface MockEvent {
  readonly id: string;
  readonly type: string;
  readonly status: 'Scheduled' | 'Started';
  readonly resources: readonly string[];
  /** By this machine's clock, in whole seconds; the server's shift is added when it is written out. */
  readonly notBefore: WallMs;
  readonly source: 'Platform' | 'User';
  readonly description: string;
  readonly durationSeconds: number;
  readonly approved: boolean;
  readonly override: Readonly<Record<string, unknown>>;
  readonly omit: readonly string[];
}

export type EventChange = 'added' | 'approved' | 'started' | 'gone' | 'withdrawn';

export interface EventBoard {
  /** Throws `too-many-events` and `duplicate-event`. */
  add(spec: EventSpec): MockEvent;
  /** Vanishes without having started; false when there is no such event. */
  withdraw(id: string): boolean;
  /** False when there never was such an event. */
  acknowledge(id: string): boolean;
  list(): readonly MockEvent[];
  incarnation(): number;
  setIncarnation(value: number): void;
  close(): void;
}

export interface EventBoardOptions {
  /** The name that `self` stands for. */
  readonly vmName: string;
  readonly startAfterAckMs: number;
  readonly startedForMs: number;
}

const EVENTS_MAX = 1000;
const DEFAULT_NOTICE_MS = 30_000;
/** Source: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events ("Event scheduling") */
const NOTICE_MS: Readonly<Record<string, number>> = {
  Freeze: 900_000,
  Reboot: 900_000,
  Redeploy: 600_000,
  Preempt: 30_000,
  Terminate: 300_000,
};

interface Entry {
  event: MockEvent;
  readonly autoStart: boolean;
  readonly startedForMs: number;
  timer: Disposable | undefined;
}

interface Board {
  readonly options: EventBoardOptions;
  readonly clock: Clock;
  readonly onChange: (change: EventChange, event: MockEvent) => void;
  readonly entries: Map<string, Entry>;
  /** Keys of every event there ever was: an acknowledgement that comes late is still a known one. */
  readonly known: Set<string>;
  incarnation: number;
}

/**
 * The events of the mock and their life: Scheduled, then Started at NotBefore or soon after the acknowledgement,
 * then gone. The incarnation grows with every change of the array and with nothing else.
 * Source: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
 */
export function createEventBoard(
  options: EventBoardOptions,
  dependencies: {
    readonly clock: Clock;
    readonly onChange: (change: EventChange, event: MockEvent) => void;
  },
): EventBoard {
  const board: Board = { options, ...dependencies, entries: new Map(), known: new Set(), incarnation: 1 };
  return {
    add: (spec) => add(board, spec),
    withdraw: (id) => remove(board, id, 'withdrawn'),
    acknowledge: (id) => acknowledge(board, id),
    list: () => [...board.entries.values()].map((entry) => entry.event),
    incarnation: () => board.incarnation,
    setIncarnation(value) {
      board.incarnation = value;
    },
    close() {
      for (const entry of board.entries.values()) entry.timer?.[Symbol.dispose]();
    },
  };
}

function add(board: Board, spec: EventSpec): MockEvent {
  const { clock, options } = board;
  const id = spec.id ?? randomUUID().toUpperCase();
  const key = id.toLowerCase();
  if (board.entries.size >= EVENTS_MAX) {
    throw new EvictdError('too-many-events', `there are ${EVENTS_MAX} events already`);
  }
  if (board.entries.has(key)) throw new EvictdError('duplicate-event', `there is an event ${id} already`);
  const noticeMs = spec.notBefore ?? (Object.hasOwn(NOTICE_MS, spec.type) ? NOTICE_MS[spec.type] : undefined);
  const now = clock.wallMs();
  const event: MockEvent = {
    id,
    type: spec.type,
    status: spec.status,
    resources: spec.resources.map((resource) => (resource === 'self' ? options.vmName : resource)),
    // Rounded up: the service promises not to start before it.
    notBefore: Math.ceil((now + (noticeMs ?? DEFAULT_NOTICE_MS)) / 1000) * 1000,
    source: spec.source,
    description: spec.description,
    durationSeconds: spec.durationSeconds,
    approved: false,
    override: spec.override,
    omit: spec.omit,
  };
  const entry: Entry = {
    event,
    autoStart: spec.autoStart,
    startedForMs: spec.startedFor ?? options.startedForMs,
    timer: undefined,
  };
  if (board.known.size >= EVENTS_MAX) board.known.clear();
  board.known.add(key);
  board.entries.set(key, entry);
  board.incarnation += 1;
  board.onChange('added', event);
  if (event.status === 'Started') endLater(board, entry);
  else if (entry.autoStart) startLater(board, entry, event.notBefore - now);
  return event;
}

function acknowledge(board: Board, id: string): boolean {
  const key = id.toLowerCase();
  const entry = board.entries.get(key);
  if (entry === undefined) return board.known.has(key);
  if (entry.event.status === 'Started' || entry.event.approved) return true;
  entry.event = { ...entry.event, approved: true };
  board.onChange('approved', entry.event);
  const untilNotBeforeMs = entry.event.notBefore - board.clock.wallMs();
  if (entry.autoStart) startLater(board, entry, Math.min(board.options.startAfterAckMs, untilNotBeforeMs));
  return true;
}

function startLater(board: Board, entry: Entry, delayMs: number): void {
  entry.timer?.[Symbol.dispose]();
  entry.timer = board.clock.timer(delayMs, () => {
    entry.event = { ...entry.event, status: 'Started' };
    board.incarnation += 1;
    board.onChange('started', entry.event);
    endLater(board, entry);
  });
}

function endLater(board: Board, entry: Entry): void {
  entry.timer = board.clock.timer(entry.startedForMs, () => remove(board, entry.event.id, 'gone'));
}

function remove(board: Board, id: string, change: 'gone' | 'withdrawn'): boolean {
  const key = id.toLowerCase();
  const entry = board.entries.get(key);
  if (entry === undefined) return false;
  entry.timer?.[Symbol.dispose]();
  board.entries.delete(key);
  board.incarnation += 1;
  board.onChange(change, entry.event);
  return true;
}
