import { runDaemon } from '../../src/daemon/daemon.ts';
import type { Status } from '../../src/daemon/status.ts';
import { EvictdError, messageOf } from '../../src/base/errors.ts';
import type { Log } from '../../src/observe/log.ts';
import { forgetDeadlines } from './facts.ts';
import { createDoors } from './doors.ts';
import { type GuestProcess, createGuestClock, running } from './guest.ts';
import { askForCheckpoint, stopDaemon } from './operator.ts';
import { KEPT_MS } from './rules.ts';
import type { World } from './world.ts';

/** As systemd has it: RestartSec and the time that a start takes. */
const RESTART_MS = 500;

/** Starts the daemon as a process of the guest, and again whenever it ends. */
export function startDaemon(world: World): void {
  const { agenda, facts, guest, random } = world;
  if (!guest.isAlive || world.process !== undefined) return;
  if (guest.frozenUntil > agenda.now()) {
    agenda.at(guest.frozenUntil, () => startDaemon(world));
    return;
  }
  const abort = new AbortController();
  const number = ++world.processes;
  let isAlive = true;
  const end = (why: string) => {
    if (!isAlive) return;
    isAlive = false;
    world.trace(`process ${number} ends: ${why}`);
    facts.diedAt.set(process, agenda.now());
    forgetDeadlines(facts, agenda.now() - KEPT_MS);
    world.process = undefined;
    world.handlers = undefined;
    agenda.after(RESTART_MS + random.between(0, 2000), () => startDaemon(world));
  };
  const process: GuestProcess = {
    guest,
    role: 'daemon',
    number,
    stop: abort,
    isAlive: () => isAlive,
    kill: (why) => end(`killed, ${why}`),
    doors: createDoors(world),
    clock: createGuestClock(guest, agenda, random, (fire) => {
      if (isAlive) running.run(process, fire);
    }),
  };
  world.process = process;
  world.undisturbedSince = agenda.now();
  // A process that knows nothing of an event begins anew with its window.
  if (world.diskHasFailed) forgetDeadlines(facts);
  world.trace(`process ${number} starts`);
  running.run(process, () => {
    const options = { config: world.plan.config, dryRun: false, env: {} };
    const dependencies = { clock: process.clock, log: logOf(world, process), logLines: () => [] };
    runDaemon(options, dependencies, abort.signal).then(
      () => end('it has ended'),
      (error: unknown) => {
        // What breaks in a dead process breaks because of its death.
        const isBusy = error instanceof EvictdError && error.code === 'already-running';
        if (isAlive && !isBusy) facts.violations.push(`the daemon died of ${messageOf(error)}`);
        end(messageOf(error));
      },
    );
  });
}

export function statusOf({ handlers }: World): Status | undefined {
  try {
    // What the handler answers is a Status by its own contract.
    return handlers?.status() as Status | undefined;
  } catch {
    // It is just starting, and says so.
    return undefined;
  }
}

/** As its message says: somebody may restart it, and so have it take the set over. */
function onConflict(world: World, set: string): void {
  const { agenda, random, rules } = world;
  rules.onConflict(set);
  if (!random.chance(0.5)) return;
  const restartMs = random.between(1000, 10_000);
  agenda.after(restartMs, () => stopDaemon(world));
  // What it finds at its start may be pruned before it makes use of it.
  agenda.after(restartMs + random.between(2000, 6000), () => world.tidyWithin(3000));
  agenda.after(restartMs + random.between(6000, 12_000), () => askForCheckpoint(world));
}

function logOf(world: World, process: GuestProcess): Log {
  const { facts, rules } = world;
  const line =
    (level: string) =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
      if (!process.isAlive()) return;
      world.trace(`${level} ${message} ${JSON.stringify(fields)}`);
      const { set, id } = fields;
      const isCommitted = fields['result'] === 'committed' || fields['kind'] === 'committed';
      if (isCommitted && typeof set === 'string' && typeof id === 'string') {
        const tookMs = Number(fields['durationMs'] ?? Infinity);
        const since = Math.max(0, world.agenda.now() - (tookMs + 2) / process.guest.rate);
        rules.onClaim(process, { set, id, since });
      }
      const isConflict = fields['code'] === 'conflict' || fields['failure'] === 'conflict';
      if (isConflict && typeof set === 'string') onConflict(world, set);
      // What was announced before that is another VM's as far as it knows.
      if (fields['code'] === 'identified') forgetDeadlines(facts);
      if (message.startsWith('journal unreadable'))
        facts.violations.push(`${message}: ${String(fields['reason'])}`);
    };
  const log: Log = {
    debug: line('debug'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    child: () => log,
  };
  return log;
}
