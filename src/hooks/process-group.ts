import { readFileSync, readdirSync } from 'node:fs';

import type { Clock, MonotonicMs } from '../base/clock.ts';
import { isErrno } from '../base/errors.ts';

/** One process as /proc/PID/stat describes it (man 5 proc_pid_stat). */
export interface ProcessEntry {
  readonly pid: number;
  readonly group: number;
}

const POLL_MS = 10;
// After SIGKILL a process is gone in milliseconds, unless the kernel holds it (a dead NFS server).
const KILL_WAIT_MS = 200;

/**
 * Waits until a process group is empty, with SIGTERM at `termAt` and SIGKILL at `killAt` for what is left then.
 * Answers what it took; `stuck` when something survives SIGKILL. Ends by `killAt` plus 200 ms.
 */
export async function endGroup(
  group: number,
  times: { readonly termAt: MonotonicMs; readonly killAt: MonotonicMs },
  clock: Clock,
): Promise<'empty' | 'terminated' | 'killed' | 'stuck'> {
  let outcome: 'empty' | 'terminated' | 'killed' = 'empty';
  while (groupIsAlive(group)) {
    const now = clock.monotonicMs();
    if (now >= times.killAt + KILL_WAIT_MS && outcome === 'killed') return 'stuck';
    if (now >= times.killAt && outcome !== 'killed') {
      outcome = 'killed';
      signalGroup(group, 'SIGKILL');
    } else if (now >= times.termAt && outcome === 'empty') {
      outcome = 'terminated';
      signalGroup(group, 'SIGTERM');
    }
    await pause(clock, POLL_MS);
  }
  return outcome;
}

/** Sends a signal to all of a group; false when there is nobody in it. */
export function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-group, signal);
    return true;
  } catch (error) {
    if (isErrno(error, 'ESRCH')) return false;
    // All that is left has become another user (a setuid program); waiting for it is all we can do.
    if (isErrno(error, 'EPERM')) return true;
    throw error;
  }
}

/** Zombies don't count: an init that doesn't reap (common in containers) would make a group live forever. */
export function groupIsAlive(group: number): boolean {
  return signalGroup(group, 0) && listProcesses().some((entry) => entry.group === group);
}

/**
 * All processes that still run. Synchronous on purpose: these files are memory, and the thread pool
 * that serves asynchronous reads can be full of uploads or of a hanging file system just now.
 */
export function listProcesses(): readonly ProcessEntry[] {
  const entries: ProcessEntry[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(name);
    // The command's name is in brackets and may hold anything, brackets and newlines included.
    const [state, , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === undefined || group === undefined || state === 'Z' || state === 'X') continue;
    entries.push({ pid: Number(name), group: Number(group) });
  }
  return entries;
}

export function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.timer(ms, resolve);
  });
}

function readStat(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    // It ended in between; other users' entries can be hidden (hidepid).
    if (isErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return '';
    throw error;
  }
}
