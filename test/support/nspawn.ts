import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { createCgroup } from './nspawn-cgroup.ts';
import { debianRoot } from './nspawn-root.ts';
import type { DebianRoot } from './nspawn-root.ts';

/** A running Debian with systemd as its first process and a network of its own that leads nowhere. */
export interface Machine extends AsyncDisposable {
  /** Runs a program inside; rejects only when it couldn't be run, not when it fails. */
  inside(argv: readonly string[], options?: { timeoutMs?: number; stdin?: string }): Promise<Finished>;
  /** Like `inside`, and its output; rejects when it fails. */
  output(argv: readonly string[], options?: { timeoutMs?: number; stdin?: string }): Promise<string>;
  /** What the journal has of a unit, oldest first. */
  journal(unit: string): Promise<JournalEntry[]>;
  /** Shuts it down in order, as `systemctl poweroff` does, and waits until it is off. */
  powerOff(): Promise<void>;
  /** Ends it with all that runs in it, as a power failure does; nothing of it stays, also no mount and no control group. */
  stop(): Promise<void>;
}

export interface Finished {
  /** 124: it took longer than its time. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface JournalEntry {
  readonly MESSAGE?: string;
  readonly PRIORITY?: string;
  readonly SYSLOG_IDENTIFIER?: string;
}

export interface Bind {
  readonly host: string;
  readonly inside: string;
  readonly isWritable?: boolean;
}

// A second, and longer where cloud-init installs something.
const BOOT_MS_MAX = 90_000;
/** More than a machine takes that does other work, or is paused now and then. */
const WAIT_MS_MAX = 60_000;
const POWER_OFF_MS_MAX = 60_000;
// SIGRTMIN+4: what systemd takes as "power off", see systemd(1). Node has no names for the real-time signals.
const POWER_OFF_SIGNAL = 34 + 4;
const OUTPUT_MAX = 8 * 1024 * 1024;
const NAMESPACES = ['-m', '-u', '-i', '-n', '-p', '-C', '-r', '-w'];
// In the mount namespace of the machine, so it goes with its last process.
const MOUNT_DISK =
  'cd "$2" && mkdir -p root upper work && ' +
  'mount -t overlay -o "lowerdir=$1,upperdir=upper,workdir=work" overlay root && shift 2 && exec "$@"';
let machines = 0;

export interface MachineOptions {
  /** Default: Debian 13 with nothing more. */
  readonly root?: DebianRoot;
  /** Folder of what it writes, which outlives it and may hold files beforehand; else all is gone when it stops. */
  readonly disk?: string;
}

/** Boots a machine in about a second; `binds` are read-only unless they say otherwise. */
export async function bootMachine(binds: readonly Bind[], options: MachineOptions = {}): Promise<Machine> {
  const root = await debianRoot(options.root ?? { suite: 'trixie' });
  machines += 1;
  const cgroup = createCgroup(machines);
  const nspawn = startNspawn(root, options.disk, binds, cgroup.memberFiles);
  const console_ = collect(nspawn.stdout, nspawn.stderr);
  const ended = once(nspawn, 'close');
  let leader: number | undefined;

  const stop = async (): Promise<void> => {
    // The overlay is thrown away, so there is nothing to shut down in order.
    const target = leader ?? nspawn.pid;
    if (nspawn.exitCode === null && nspawn.signalCode === null && target !== undefined) killQuietly(target);
    await withDeadline(ended, WAIT_MS_MAX, 'the end of systemd-nspawn');
    await until('the control group to be empty', async () => tryTo(() => cgroup[Symbol.dispose]()));
  };

  try {
    leader = await until(
      'the first process of the machine',
      async () => {
        if (nspawn.exitCode !== null) throw new Error(`systemd-nspawn ended: ${console_()}`);
        return findLeader(nspawn.pid);
      },
      BOOT_MS_MAX,
    );
    const powerOff = async () => {
      if (leader !== undefined) process.kill(leader, POWER_OFF_SIGNAL);
      await withDeadline(ended, POWER_OFF_MS_MAX, 'the machine to be off');
      await stop();
    };
    const machine = createMachine(leader, { powerOff, stop });
    await until(
      'systemd to be up',
      async () => {
        const { stdout } = await machine.inside(['systemctl', 'is-system-running']);
        return ['running', 'degraded'].includes(stdout.trim());
      },
      BOOT_MS_MAX,
    );
    return machine;
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Runs a program of this machine with the disk's root filesystem mounted at `DISK/root`; answers its output. */
export async function runOnDisk(
  root: DebianRoot,
  disk: string,
  argv: readonly string[],
  timeoutMs = 60_000,
): Promise<string> {
  const mounted = ['--mount', '--', 'sh', '-c', MOUNT_DISK, 'sh', await debianRoot(root), disk];
  const { stdout } = await promisify(execFile)('unshare', [...mounted, ...argv], { timeout: timeoutMs });
  return stdout;
}

function startNspawn(
  root: string,
  disk: string | undefined,
  binds: readonly Bind[],
  memberFiles: readonly string[],
) {
  const argv = [
    'systemd-nspawn',
    '--quiet',
    `--directory=${disk === undefined ? root : join(disk, 'root')}`,
    '--boot',
    '--private-network',
    // Without a systemd on the host there is nobody to register with.
    '--register=no',
    '--keep-unit',
    '--console=pipe',
    '--link-journal=no',
    '--resolv-conf=off',
    '--timezone=off',
    ...(disk === undefined ? ['--volatile=overlay'] : []),
    '--system-call-filter=bpf',
    ...binds.map(
      ({ host, inside, isWritable }) => `--bind${isWritable === true ? '' : '-ro'}=${host}:${inside}`,
    ),
  ];
  const join_ = memberFiles.map((file) => `echo $$ > ${file}`).join(' && ');
  // Also when the test runner is killed, the machine goes with it: the death signal ends unshare, unshare's child is
  // nspawn, and as that is the first process of a PID namespace, everything below it ends with it.
  const wrapped = 'exec setpriv --pdeathsig KILL unshare --pid --mount-proc --fork --kill-child=KILL -- "$@"';
  const onDisk = disk === undefined ? [] : ['sh', '-c', MOUNT_DISK, 'sh', root, disk];
  return spawn('sh', ['-c', `${join_} && ${wrapped}`, 'sh', ...onDisk, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' },
  });
}

function createMachine(leader: number, end: Pick<Machine, 'powerOff' | 'stop'>): Machine {
  const inside: Machine['inside'] = async (argv, { timeoutMs = WAIT_MS_MAX, stdin = '' } = {}) => {
    // `timeout` runs inside, since killing nsenter would leave its child alive.
    const bounded = ['timeout', '--kill-after=1', String(timeoutMs / 1000), ...argv];
    const child = spawn('nsenter', ['-t', String(leader), ...NAMESPACES, '--', ...bounded], {
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', SYSTEMD_PAGER: '' },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    // A program that doesn't read its input may be gone before it is written.
    child.stdin.on('error', () => undefined);
    child.stdin.end(stdin);
    await withDeadline(once(child, 'close'), timeoutMs + 5000, `the end of ${argv.join(' ')}`);
    return { code: child.exitCode, stdout: stdout(), stderr: stderr() };
  };
  const output: Machine['output'] = async (argv, options) => {
    const { code, stdout, stderr } = await inside(argv, options);
    if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}: ${stderr || stdout}`);
    return stdout;
  };
  return {
    inside,
    output,
    async journal(unit) {
      await output(['journalctl', '--sync']);
      const lines = await output(['journalctl', `--unit=${unit}`, '--output=json', '--no-pager']);
      // The shape is journalctl's; a test that finds another one fails.
      return lines
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as JournalEntry);
    },
    ...end,
    [Symbol.asyncDispose]: end.stop,
  };
}

/** Asks again and again, at short intervals, until the answer is neither undefined nor false. */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  limitMs = WAIT_MS_MAX,
): Promise<T> {
  const endsAt = performance.now() + limitMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > endsAt) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
    await delay(50);
  }
}

/** unshare → systemd-nspawn → the machine's systemd. */
function findLeader(unsharePid: number | undefined): number | undefined {
  try {
    const nspawn = unsharePid === undefined ? [] : childrenOf(unsharePid);
    return nspawn
      .flatMap(childrenOf)
      .find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'systemd');
  } catch {
    // One of them was just starting or ending; the caller asks again.
    return undefined;
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}

function collect(...streams: readonly NonNullable<ChildProcess['stdout']>[]): () => string {
  let text = '';
  for (const stream of streams) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      if (text.length < OUTPUT_MAX) text += chunk;
    });
  }
  return () => text;
}

async function withDeadline<T>(work: Promise<T>, limitMs: number, what: string): Promise<T> {
  const over = new AbortController();
  const deadline = delay(limitMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`waited ${limitMs} ms in vain for ${what}`);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    over.abort();
    await deadline.catch(() => undefined);
  }
}

function killQuietly(pid: number): void {
  tryTo(() => process.kill(pid, 'SIGKILL'));
}

function tryTo(action: () => void): boolean {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}
