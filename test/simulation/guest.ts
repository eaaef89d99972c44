import { AsyncLocalStorage } from 'node:async_hooks';

import type { Clock } from '../../src/base/clock.ts';
import type { BlobStore } from '../../src/checkpoint/store/store.ts';
import type { ControlHandlers } from '../../src/control/server.ts';
import type { HookRequest, HookResult } from '../../src/core/ports.ts';
import type { Answer, Question } from '../../src/imds/transport.ts';
import type { DrainNews } from '../../src/observe/drain-news.ts';
import type { Agenda } from './agenda.ts';
import type { Disk } from './disk.ts';
import type { Random } from './random.ts';

/** A simulated VM: its clocks, its disk, and what it is called. */
export interface Guest {
  readonly name: string;
  readonly disk: Disk;
  bootId: string;
  bootedAt: number;
  /** What the wall clock is ahead of the world's, in ms; a step changes it. */
  wallOffset: number;
  /** Guest milliseconds in one of the world's. */
  readonly rate: number;
  /** Nothing in the guest runs before that. */
  frozenUntil: number;
  isAlive: boolean;
}

/** A process in a guest. Once it is dead, nothing that it does has an effect any more. */
export interface GuestProcess {
  readonly guest: Guest;
  /** Processes with the same one have the same `state.dir`, one after the other. */
  readonly role: string;
  readonly number: number;
  readonly clock: Clock;
  /** As SIGTERM does. */
  readonly stop: AbortController;
  readonly isAlive: () => boolean;
  /** As SIGKILL does. */
  kill(why: string): void;
  readonly doors: Doors;
}

/** What the program meets when it goes outside; see doors/. */
export interface Doors {
  /** A moment at which a crash would be interesting. */
  crashPoint(process: GuestProcess, what: string): void;
  /** Before a request is sent: it may be paused then, for long. */
  pausePoint(process: GuestProcess, operation: string, name: string): Promise<void>;
  /** Waits where the disk hangs; rejects with the system's error where it fails. */
  diskTrouble(process: GuestProcess, what: string, path: string): Promise<void>;
  /** As `Transport.request`. */
  ask(
    this: void,
    process: GuestProcess,
    question: Question,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Answer>;
  runHook(process: GuestProcess, request: HookRequest, signal: AbortSignal): Promise<HookResult>;
  store(process: GuestProcess): BlobStore;
  tell(process: GuestProcess, receiver: string, news: DrainNews, signal: AbortSignal): Promise<void>;
  control(process: GuestProcess, handlers: ControlHandlers): void;
}

/** Which process the code that runs now belongs to. */
export const running = new AsyncLocalStorage<GuestProcess>();

export function runningProcess(): GuestProcess {
  const process = running.getStore();
  if (process === undefined) throw new Error('called from outside of any simulated process');
  return process;
}

export const WALL_EPOCH = Date.parse('2026-04-13T10:00:00Z');

export function wallMs(guest: Pick<Guest, 'rate' | 'wallOffset'>, agenda: Agenda): number {
  return WALL_EPOCH + agenda.now() * guest.rate + guest.wallOffset;
}

/** The clock of one process. Its timers die with it, and stand still while the guest is frozen. */
export function createGuestClock(
  guest: Guest,
  agenda: Agenda,
  random: Random,
  within: (run: () => void) => void,
): Clock {
  return {
    monotonicMs: () => (agenda.now() - guest.bootedAt) * guest.rate,
    wallMs: () => wallMs(guest, agenda),
    timer(delayMs, fire) {
      let entry: Disposable;
      const run = () => {
        if (guest.frozenUntil > agenda.now()) entry = agenda.at(guest.frozenUntil, run);
        else within(fire);
      };
      // Node counts whole milliseconds, at least one, and is late by what else there is to do.
      const delay = Math.max(1, Math.trunc(delayMs)) + random.next();
      entry = agenda.after(delay / guest.rate, run);
      return { [Symbol.dispose]: () => entry[Symbol.dispose]() };
    },
  };
}
