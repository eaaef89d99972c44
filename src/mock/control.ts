/**
 * Run-time control of the mock metadata service over HTTP; manual.ts describes paths and bodies. The content type of
 * a request doesn't matter, so that a plain `curl -d` will do; one that can't be used gets a 400 that says why.
 */
import { EvictdError } from '../base/errors.ts';
import { tryParseJson } from '../base/json.ts';
import { json, type MockAnswer, refusal } from './answer.ts';
import type { MockEvent } from './event-board.ts';
import { validate } from './scenario.ts';
import {
  ClockChange,
  ClockRequest,
  type EventInput,
  EventSpec,
  type FaultInput,
  FaultSpec,
  IncarnationChange,
  type Scenario,
  type Step,
} from './schema.ts';
import { type AckEntry, type Activity, publish, type RequestEntry, type World } from './world.ts';

export interface MockState {
  readonly vm: Scenario['vm'];
  readonly incarnation: number;
  readonly events: readonly MockEvent[];
  readonly faults: readonly FaultSpec[];
  readonly clockShiftMs: number;
}

/** The same control inside the process. Bad input throws an EvictdError `bad-request`. */
export interface MockControl {
  addEvent(spec?: EventInput): MockEvent;
  /** False when there is no such event. */
  withdraw(id: string): boolean;
  fault(spec: FaultInput): void;
  clearFaults(): void;
  /** `1h`, `-30s`; not added up. */
  shiftClock(shift: string): void;
  setIncarnation(value: number): void;
  state(): MockState;
  requests(): readonly RequestEntry[];
  acks(): readonly AckEntry[];
  /** Calls the listener with everything that happens from now on. */
  subscribe(listener: (activity: Activity) => void): Disposable;
  /** Resolves when the condition holds; looks again at every activity. Rejects with the signal's reason. */
  waitFor(condition: () => boolean, signal: AbortSignal): Promise<void>;
  waitForAck(eventId: string, signal: AbortSignal): Promise<AckEntry>;
}

export function createControl(world: World): MockControl {
  const findAck = (id: string) =>
    world.acks.find((ack) => ack.known && ack.eventId.toLowerCase() === id.toLowerCase());
  const control: MockControl = {
    addEvent: (spec = {}) => world.board.add(validate(EventSpec, spec, 'event', 'bad-request')),
    withdraw: (id) => world.board.withdraw(id),
    fault: (spec) => addFault(world, validate(FaultSpec, spec, 'fault', 'bad-request')),
    clearFaults: () => world.faults.clear(),
    shiftClock: (shift) => shiftClock(world, validate(ClockChange, { shift }, 'clock', 'bad-request').shift),
    setIncarnation: (value) => world.board.setIncarnation(value),
    state: () => ({
      vm: world.scenario.vm,
      incarnation: world.board.incarnation(),
      events: world.board.list(),
      faults: world.faults.list(),
      clockShiftMs: world.shiftMs,
    }),
    requests: () => [...world.requests],
    acks: () => [...world.acks],
    subscribe(listener) {
      world.listeners.add(listener);
      return { [Symbol.dispose]: () => world.listeners.delete(listener) };
    },
    waitFor: (condition, signal) => waitFor(world, condition, signal),
    async waitForAck(eventId, signal) {
      await waitFor(world, () => findAck(eventId) !== undefined, signal);
      const ack = findAck(eventId);
      if (ack === undefined)
        throw new EvictdError('ack-lost', `the ack of ${eventId} fell out of the bounded log`);
      return ack;
    },
  };
  return control;
}

/** Does one step of a scenario's timeline; one that can't be done is published as a problem. */
export function performStep(world: World, step: Step): void {
  try {
    tryStep(world, step);
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    publish(world, { kind: 'problem', message: `timeline: ${error.message}` });
  }
}

function tryStep(world: World, step: Step): void {
  if (step.event !== undefined) world.board.add(step.event);
  if (step.withdraw !== undefined && !world.board.withdraw(step.withdraw)) {
    throw new EvictdError('bad-request', `there is no event ${step.withdraw} to withdraw`);
  }
  if (step.fault !== undefined) addFault(world, step.fault);
  if (step.clock !== undefined) shiftClock(world, step.clock);
  if (step.incarnation !== undefined) world.board.setIncarnation(step.incarnation);
}

/** Answers a request below /mock/. */
export function answerControl(control: MockControl, method: string, path: string, body: string): MockAnswer {
  try {
    return route(control, method, path, body);
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    return refusal(400, error.message, error.remedy === undefined ? {} : { remedy: error.remedy });
  }
}

function route(control: MockControl, method: string, path: string, body: string): MockAnswer {
  const id = eventIdOf(path);
  if (method === 'DELETE' && id !== undefined) {
    return control.withdraw(id) ? json(200, { withdrawn: id }) : refusal(404, `there is no event ${id}`);
  }
  switch (`${method} ${path}`) {
    case 'POST /mock/events':
      // The control function validates what it is given, whatever its type says.
      return json(201, control.addEvent(parseBody(body) as EventInput));
    case 'POST /mock/faults':
      // Validated there too.
      control.fault(parseBody(body) as FaultInput);
      return json(201, { faults: control.state().faults });
    case 'DELETE /mock/faults':
      control.clearFaults();
      return json(200, { faults: [] });
    case 'POST /mock/clock':
      control.shiftClock(validate(ClockRequest, parseBody(body), 'clock', 'bad-request').shift);
      return json(200, { clockShiftMs: control.state().clockShiftMs });
    case 'POST /mock/incarnation':
      control.setIncarnation(
        validate(IncarnationChange, parseBody(body), 'incarnation', 'bad-request').value,
      );
      return json(200, { incarnation: control.state().incarnation });
    case 'GET /mock/log':
      return json(200, { requests: control.requests(), acks: control.acks() });
    case 'GET /mock/state':
      return json(200, control.state());
    default:
      return refusal(404, `there is no ${method} ${path}`, {
        allowed: [
          'POST /mock/events',
          'DELETE /mock/events/ID',
          'POST /mock/faults',
          'DELETE /mock/faults',
          'POST /mock/clock',
          'POST /mock/incarnation',
          'GET /mock/log',
          'GET /mock/state',
        ],
      });
  }
}

function eventIdOf(path: string): string | undefined {
  const text = /^\/mock\/events\/([^/]+)$/.exec(path)?.[1];
  if (text === undefined) return undefined;
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new EvictdError('bad-request', `${text} is not a percent-encoded event id`, { cause });
  }
}

function parseBody(body: string): unknown {
  const value = tryParseJson(body);
  if (value === undefined) throw new EvictdError('bad-request', 'the body is not JSON');
  return value;
}

function addFault(world: World, fault: FaultSpec): void {
  world.faults.add(fault);
  publish(world, { kind: 'fault', fault });
}

function shiftClock(world: World, shiftMs: number): void {
  world.shiftMs = shiftMs;
  publish(world, { kind: 'clock', shiftMs });
}

function waitFor(world: World, condition: () => boolean, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      world.listeners.delete(check);
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    const onAbort = () => {
      const reason: unknown = signal.reason;
      finish(() => reject(reason instanceof Error ? reason : new EvictdError('aborted', String(reason))));
    };
    const check = () => {
      if (condition()) finish(resolve);
    };
    world.listeners.add(check);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    else check();
  });
}
