import { constants } from 'node:os';

import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { DAEMON_ENDS } from '../core/ports.ts';
import { askManager, complaintOf } from './manager.ts';
import type { OutputLine } from './output.ts';
import { pause } from './process-group.ts';
import type { ProcessEnd, ProcessLimits, ProcessSpec } from './process.ts';
import { emitOutput } from './unit-output.ts';
import { type UnitState, findUnit, isOver } from './unit-state.ts';

// INVARIANTS:
// - The name says which hook of which drain it is, so there is never a second unit for it, and a daemon that was
//   restarted finds the first one, running or ended.
// - The unit outlives its program and keeps the result; `forgetUnits` removes it, once the drain is over.
// - One cause: the first of exit, time and abort is the result.
// - `runUnit` settles by `killAt` + 0.5 s as long as the service manager answers; nothing of the unit runs then.

export interface UnitTask {
  /** Of the unit, with its suffix. */
  readonly unit: string;
  readonly description: string;
  readonly user: string | undefined;
  /** An earlier process may have started it. */
  readonly isRepetition: boolean;
  /** What to run; asked for only when there is no unit yet. Its rejections are passed on. */
  readonly prepare: () => Promise<ProcessSpec>;
}

interface Dependencies {
  readonly clock: Clock;
  readonly onOutput: (line: OutputLine) => void;
}

const LOOK_MS = 100;
const STOP_MS = 2000;
const LEFTOVER_GRACE_MS = 100;
const GIVE_UP_MS = 500;
const ANSWER_MS = 300;
// While the manager is being updated (daemon-reexec) it answers nobody for some tenths of a second.
const STARTS_MAX = 3;
const START_PAUSE_MS = 200;

/**
 * Runs a program as a transient unit: in a control group of its own, which nothing that it starts can leave, outside
 * of the daemon's sandbox, and going on when the daemon is restarted. Its output is in the journal under the unit,
 * and the end of it is emitted. Rejects with `hook-start` when it can't be started, `systemd-failed` when the
 * manager doesn't answer, and with what `prepare` rejects with.
 */
export async function runUnit(
  task: UnitTask,
  limits: ProcessLimits,
  dependencies: Dependencies,
  signal: AbortSignal,
): Promise<ProcessEnd> {
  const { clock, onOutput } = dependencies;
  using ending = startEnding(task.unit, limits, clock, signal);
  const earlier = task.isRepetition ? await lookUntil(task.unit, ending, clock, () => true) : 'none';
  if (earlier === 'none') await startUnit(task, await task.prepare(), limits, ending, clock);
  else onOutput({ stream: 'stderr', text: `evictd: going on with ${task.unit}` });
  const state = await lookUntil(task.unit, ending, clock, isOver);
  if (state === 'none' && ending.cause() === undefined) {
    throw new EvictdError('hook-start', `${task.unit} was removed before it told its result`);
  }
  const end = endOf(state, ending);
  if (end.cause === undefined && state !== 'none' && state !== 'stuck' && state.controlGroup !== '') {
    // A program that succeeded has succeeded, whatever becomes of what it left.
    const outcome = await endLeftovers(task.unit, clock).then(
      () => 'was ended',
      (error: unknown) => `may still run: ${messageOf(error)}`,
    );
    onOutput({ stream: 'stderr', text: `evictd: what the hook left in its control group ${outcome}` });
  }
  // Not waited for: the result is known, and the drain can go on.
  void emitOutput(task.unit, limits.output, clock, onOutput);
  return end;
}

/** Resolves when the unit has ended (or the manager no longer answers): the start of a oneshot is its whole life. */
async function startUnit(
  task: UnitTask,
  spec: ProcessSpec,
  limits: ProcessLimits,
  ending: Ending,
  clock: Clock,
): Promise<void> {
  for (let starts = 1; ; starts++) {
    const timeoutMs = limits.termAt - clock.monotonicMs();
    const args = unitArguments(task, spec, { timeoutMs, graceMs: limits.graceMs });
    const bound = { clock, limitMs: ending.leftMs(), signal: ending.abandoned };
    const answer = await askManager('systemd-run', args, bound).catch((error: unknown) => {
      // No answer: whether there is a unit is seen when it is looked for.
      if (ending.cause() === undefined) throw error;
      return undefined;
    });
    if (answer === undefined || answer.code === 0 || ending.cause() !== undefined) return;
    // It exists, so it was started: the unsuccessful one is the program.
    if ((await findUnit(task.unit, clock, ending.leftMs())) !== 'none') return;
    if (starts === STARTS_MAX) {
      throw new EvictdError(
        'hook-start',
        `${spec.file} could not be started as a unit: ${complaintOf(answer)}`,
      );
    }
    await pause(clock, START_PAUSE_MS);
  }
}

/** Without the dependencies that units have by default it may be started, and go on, while the machine shuts down. */
export function unitArguments(
  task: Pick<UnitTask, 'unit' | 'description' | 'user'>,
  spec: Pick<ProcessSpec, 'file' | 'arguments' | 'environment' | 'input'>,
  times: { readonly timeoutMs: number; readonly graceMs: number },
): readonly string[] {
  const milliseconds = (ms: number) => `${Math.max(1, Math.round(ms))}ms`;
  const properties = [
    'Type=oneshot',
    'RemainAfterExit=yes',
    'DefaultDependencies=no',
    // They hold also when there is no daemon to see to it.
    `TimeoutStartSec=${milliseconds(times.timeoutMs)}`,
    `TimeoutStopSec=${milliseconds(times.graceMs)}`,
    'StandardOutput=journal',
    'StandardError=journal',
    'StandardInput=data',
    // Added up by systemd; one argument of a program may have 128 KiB.
    ...(
      Buffer.from(spec.input)
        .toString('base64')
        .match(/.{1,65536}/g) ?? []
    ).map((part) => `StandardInputData=${part}`),
    ...(task.user === undefined ? [] : [`User=${task.user}`]),
  ];
  return [
    '--quiet',
    '--no-ask-password',
    `--unit=${task.unit}`,
    `--description=${unitText(task.description)}`,
    '--slice=evictd.slice',
    ...properties.map((property) => `--property=${property}`),
    ...Object.entries(spec.environment).map(([name, value]) => `--setenv=${name}=${value}`),
    '--',
    spec.file,
    // In a command line of a unit a dollar sign begins a variable.
    ...spec.arguments.map((argument) => argument.replaceAll('$', '$$$$')),
  ];
}

const DESCRIPTION_MAX = 256;

/**
 * systemd writes a description into the unit's file as it comes: a line end would begin a directive of its own there, a
 * backslash would join the next line, and a per cent sign is a specifier (systemd.unit(5)).
 */
function unitText(text: string): string {
  return text.slice(0, DESCRIPTION_MAX).replaceAll(/[^ -~]|[\\%]/g, '?');
}

/** Ends the unit at its times or at the abort, whatever the rest waits for. */
interface Ending extends Disposable {
  cause(): ProcessEnd['cause'];
  killed(): boolean;
  /** Until it is given up; never nothing, so that it can still be asked how it ended. */
  leftMs(): number;
  isGivenUp(): boolean;
  /** The daemon ends, and the unit goes on without it. */
  readonly abandoned: AbortSignal;
}

function startEnding(unit: string, limits: ProcessLimits, clock: Clock, signal: AbortSignal): Ending {
  let cause: ProcessEnd['cause'];
  let { killAt } = limits;
  let killed = false;
  const timers = new DisposableStack();
  const at = (time: MonotonicMs, fire: () => void) =>
    timers.use(clock.timer(time - clock.monotonicMs(), fire));
  // What comes of it is seen when the unit is looked at.
  const ask = (...args: string[]) =>
    void askManager('systemctl', [...args, unit], { clock, limitMs: STOP_MS }).catch(() => undefined);
  const stop = (why: 'timeout' | 'cancelled') => {
    if (cause !== undefined) return;
    cause = why;
    ask('stop', '--no-block');
    killAt = Math.min(killAt, clock.monotonicMs() + limits.graceMs);
    at(killAt, () => {
      killed = true;
      ask('kill', '--signal=KILL');
    });
  };
  const abandoned = new AbortController();
  const onAbort = () => {
    const { reason } = signal as { readonly reason: unknown }; // declared as any
    if (!(reason instanceof EvictdError && reason.code === DAEMON_ENDS)) return stop('cancelled');
    cause ??= 'cancelled';
    abandoned.abort(reason);
  };
  at(limits.termAt, () => stop('timeout'));
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return {
    cause: () => cause,
    killed: () => killed,
    leftMs: () => Math.max(ANSWER_MS, killAt + GIVE_UP_MS - clock.monotonicMs()),
    isGivenUp: () => abandoned.signal.aborted || clock.monotonicMs() >= killAt + GIVE_UP_MS,
    abandoned: abandoned.signal,
    [Symbol.dispose]() {
      timers.dispose();
      signal.removeEventListener('abort', onAbort);
    },
  };
}

/** Looks again and again: after a stop, and where a unit of an earlier process is gone on with. */
async function lookUntil(
  unit: string,
  ending: Ending,
  clock: Clock,
  isEnough: (state: UnitState) => boolean,
): Promise<UnitState | 'none' | 'stuck'> {
  for (;;) {
    const state = await findUnit(unit, clock, ending.leftMs());
    if (state === 'none' || (state !== 'unknown' && isEnough(state))) return state;
    if (ending.isGivenUp()) return 'stuck';
    await pause(clock, LOOK_MS);
  }
}

function endOf(state: UnitState | 'none' | 'stuck', ending: Ending): ProcessEnd {
  const cause = ending.cause();
  const end = { cause, code: null, signal: null, killed: ending.killed(), stuck: state === 'stuck' };
  if (state === 'none' || state === 'stuck') return end;
  const killed = end.killed || state.status === constants.signals.SIGKILL;
  switch (state.result) {
    case 'success':
      return { ...end, code: 0 };
    case 'exit-code':
      return { ...end, code: state.status };
    case 'timeout':
      return { ...end, cause: cause ?? 'timeout', killed };
    case 'signal':
    case 'core-dump':
    case 'oom-kill':
      return { ...end, signal: signalName(state.status), killed };
    default:
      throw new EvictdError('hook-start', `systemd could not run it (${state.result})`, {
        remedy: 'look at the journal of the time; resources can be exhausted',
      });
  }
}

function signalName(number: number): NodeJS.Signals {
  const names = Object.entries(constants.signals);
  // The keys of that table are the signals' names.
  return (names.find(([, value]) => value === number)?.[0] ?? 'SIGKILL') as NodeJS.Signals;
}

/** Of a program that ended by itself; also those in sessions of their own. They get a moment to end as well. */
async function endLeftovers(unit: string, clock: Clock): Promise<void> {
  for (const signal of ['TERM', 'KILL']) {
    await pause(clock, LEFTOVER_GRACE_MS);
    await askManager('systemctl', ['kill', `--signal=${signal}`, unit], { clock, limitMs: STOP_MS });
  }
}
