import { readFile } from 'node:fs/promises';

import { abandonOn } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, isErrno } from '../base/errors.ts';
import { eventKey } from '../core/event.ts';
import { withoutNul } from './environment.ts';
import { listProcesses, pause, signalGroup } from './process-group.ts';
import type { ProcessEntry } from './process-group.ts';

const POLL_MS = 25;
const KILL_WAIT_MS = 300;
const READS_AT_ONCE = 32;

/**
 * Ends the processes of an earlier attempt of a hook: outside of systemd they survive a daemon killed with -9.
 * They are known by the environment that they were started with, so also those in a session of their own are found.
 * SIGTERM first, SIGKILL after `graceMs` or when the signal is aborted. Answers how many there were.
 * Rejects with `hook-leftovers` when some can't be ended: two attempts must never run side by side.
 */
export async function reapLeftovers(
  earlier: { readonly eventId: string; readonly hook: string },
  graceMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<number> {
  const seen = new Set<number>();
  const killAt = clock.monotonicMs() + graceMs;
  let groups: ReadonlySet<number> = new Set();
  let killedAt: number | undefined;
  try {
    // Looked for anew each time, since a process that is being ended may still fork.
    for (;;) {
      const left = await abandonOn(signal, findProcesses(earlier, groups));
      if (left.length === 0) return seen.size;
      groups = new Set(left.map((entry) => entry.group));
      const isFresh = left.some((entry) => !seen.has(entry.pid));
      for (const entry of left) seen.add(entry.pid);
      const now = clock.monotonicMs();
      if (now >= killAt) {
        killedAt ??= now;
        if (now >= killedAt + KILL_WAIT_MS) throw stillThere(earlier.hook, left);
        signalAll(groups, 'SIGKILL');
      } else if (isFresh) {
        signalAll(groups, 'SIGTERM');
      }
      await pause(clock, POLL_MS);
    }
  } finally {
    if (signal.aborted) signalAll(groups, 'SIGKILL');
  }
}

function signalAll(groups: ReadonlySet<number>, signal: NodeJS.Signals): void {
  for (const group of groups) signalGroup(group, signal);
}

function stillThere(hook: string, left: readonly ProcessEntry[]): EvictdError {
  const pids = left.map((entry) => entry.pid).join(', ');
  return new EvictdError(
    'hook-leftovers',
    `an earlier attempt of ${hook} still runs and can't be ended (process ${pids})`,
    {
      remedy: 'see what it waits for: cat /proc/PID/stack',
    },
  );
}

/** Never a member of our own group: a daemon that was itself started by a hook would end itself. */
async function findProcesses(
  earlier: { eventId: string; hook: string },
  knownGroups: ReadonlySet<number>,
): Promise<readonly ProcessEntry[]> {
  const processes = listProcesses();
  const ownGroup = processes.find((entry) => entry.pid === process.pid)?.group;
  const candidates = processes.filter((entry) => entry.group > 1 && entry.group !== ownGroup);
  // A child that cleared its environment (sudo) is known by the group that others of it were found in.
  const isLeftover = async (entry: ProcessEntry) =>
    knownGroups.has(entry.group) || (await belongsTo(entry.pid, earlier));
  const found: ProcessEntry[] = [];
  for (let at = 0; at < candidates.length; at += READS_AT_ONCE) {
    const batch = candidates.slice(at, at + READS_AT_ONCE);
    const matches = await Promise.all(batch.map(isLeftover));
    found.push(...batch.filter((_, index) => matches[index] === true));
  }
  return found;
}

async function belongsTo(pid: number, earlier: { eventId: string; hook: string }): Promise<boolean> {
  try {
    // Asynchronous: the kernel can make a reader of another process's memory wait.
    const variables = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0');
    const id = variables.find((variable) => variable.startsWith('EVICTD_EVENT_ID='));
    return (
      variables.includes(`EVICTD_HOOK=${earlier.hook}`) &&
      id !== undefined &&
      eventKey(id.slice('EVICTD_EVENT_ID='.length)) === eventKey(withoutNul(earlier.eventId))
    );
  } catch (error) {
    // It ended, or it is another user's and not ours to end.
    if (isErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return false;
    throw error;
  }
}
