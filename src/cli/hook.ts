import path from 'node:path';

import { systemClock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { Run } from '../control/protocol.ts';
import { STAGES } from '../core/policy.ts';
import type { ClientHook } from './hook-run.ts';
import { type Command, EXIT, type Invocation, type OptionSpec } from './command.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, textOption } from './options.ts';

const DONE_MS = 5000;

const OPTIONS: readonly OptionSpec[] = [
  {
    name: 'name',
    value: 'NAME',
    description: 'in log, status and report (default: the command and the process id)',
  },
  {
    name: 'stage',
    value: 'STAGE',
    description: 'when it runs (default: before-checkpoint)',
    choices: STAGES,
  },
  {
    name: 'order',
    value: 'N',
    description: 'lower runs first, the same order in parallel (default: 50)',
  },
  { name: 'timeout', value: 'D', description: 'the most it may take (default: 10s)' },
  { name: 'optional', description: 'its failure does not keep the event from being acknowledged' },
  { name: 'on', value: 'TYPE,TYPE', description: 'event types (default: all that drain)' },
  CONFIG_OPTION,
];

export const hookCommand: Command = {
  name: 'hook',
  summary: 'register a command as a drain hook for as long as this process lives',
  description:
    'At the notice the command runs once, as the user who started this and in its folder and environment, with the ' +
    "same EVICTD_… variables and event on stdin as a hook of the config. This process stays, also over the daemon's " +
    'restarts, until it is ended. With the order, timeout and stage it takes part like any other hook.',
  manual:
    'Example, beside a trainer that saves at SIGUSR1:\n' +
    '  evictd hook --name trainer --timeout 15s -- /opt/job/save-and-wait "$TRAINER_PID" &',
  positionals: [
    { name: 'command', description: 'program and arguments, after --', required: true, variadic: true },
  ],
  options: OPTIONS,
  async run(invocation) {
    const { createClientHook } = await import('./hook-run.ts');
    const { positionals, env, out, err } = invocation;
    const hook = await createClientHook(positionals, { clock: systemClock, env, out, err });
    try {
      return await takePart(invocation, hook);
    } catch (error) {
      // To be ended is how it ends when nothing is wrong.
      if (invocation.signal.aborted) return EXIT.done;
      throw error;
    }
  },
};

async function takePart(invocation: Invocation, hook: ClientHook): Promise<never> {
  const { options, env, err, signal } = invocation;
  const { followEvents } = await import('../control/follow-events.ts');
  const { Cancel, Registered, Run: RunData } = await import('../control/protocol.ts');
  const { config } = await loadConfigFor({ options, env });
  const { socket } = config.control;
  const body = registrationOf(invocation);
  const events = followEvents(
    socket,
    { method: 'POST', path: '/v1/hooks', body },
    {
      awayMs: Infinity,
      onLost: ({ message }) => err.write(`evictd: ${message}; registering again when it is back\n`),
    },
    { clock: systemClock },
    signal,
  );
  for await (const { event, data } of events) {
    if (event === 'registered') {
      const { name, joinsDrain } = Registered.parse(data);
      const late = joinsDrain === false ? ', too late for the drain that is under way' : '';
      err.write(`evictd: registered as ${name}${late}\n`);
    } else if (event === 'run') {
      const run = RunData.parse(data);
      // Not waited for: the stream has to be read on, and a cancellation comes on it.
      void answer(socket, run, hook, invocation);
    } else if (event === 'cancel') hook.cancel(Cancel.parse(data).id);
  }
  throw new EvictdError('not-running', 'the events have ended');
}

/** Runs the command and says how it ended; that is repeated by the daemon's next question when it can't be told. */
async function answer(
  socket: string,
  run: Run,
  hook: ClientHook,
  { err, signal }: Invocation,
): Promise<void> {
  const { askDaemon } = await import('../control/client.ts');
  try {
    const done = await hook.run(run, signal);
    err.write(`evictd: ${done.ok ? 'the command succeeded' : (done.detail ?? 'the command failed')}\n`);
    await askDaemon(socket, 'POST', `/v1/hooks/${run.id}/done`, { body: done, timeoutMs: DONE_MS, signal });
  } catch (error) {
    if (!signal.aborted) err.write(`evictd: the result could not be told: ${messageOf(error)}\n`);
  }
}

function registrationOf({ options, positionals }: Invocation): Readonly<Record<string, unknown>> {
  const on = textOption(options, 'on');
  const program = path.basename(positionals[0] ?? '').replaceAll(/[^A-Za-z0-9._-]/g, '_');
  return {
    name: textOption(options, 'name') ?? `${program.slice(0, 40)}-${process.pid}`,
    stage: textOption(options, 'stage'),
    order: orderOption(textOption(options, 'order')),
    timeout: textOption(options, 'timeout'),
    required: options['optional'] !== true,
    on: on?.split(','),
  };
}

function orderOption(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  // What else a number has to be, the daemon says.
  if (/^-?\d{1,9}$/.test(text)) return Number(text);
  throw new EvictdError('usage', `order: ${JSON.stringify(text)} is not a whole number`);
}
