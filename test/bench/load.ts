import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export const LOADS = ['nothing', 'cpu', 'memory', 'disk'] as const;
export type Load = (typeof LOADS)[number];

const CPU = '/sys/fs/cgroup/cpu';
const MEMORY = '/sys/fs/cgroup/memory';
const SHARES = 1024;
/** What systemd makes of CPUWeight=10000. */
const SHARES_OF_THE_SLICE = 102_400;
const MIB = 1024 ** 2;
const MEMORY_MIB = 768;

/** Control groups of version 1, as containers and sandboxes have them; those of version 2 belong to systemd. */
export function hasControlGroups(): boolean {
  return process.getuid?.() === 0 && existsSync(join(CPU, 'cpu.shares')) && existsSync(join(MEMORY, 'tasks'));
}

/**
 * Puts the VM under load: the daemon `pid` beside what takes all that there is, either as one of its kind or with the
 * priority of evictd.slice. This process, which stands for what is outside of the VM, is kept out of it.
 */
export async function loadMachine(
  load: Load,
  asUnit: boolean,
  folder: string,
  pid: number,
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const group = (parent: string, name: string) => {
    const path = join(parent, `evictd-bench-${process.pid}-${name}`);
    mkdirSync(path);
    stack.defer(() => removeGroup(path));
    return path;
  };
  const workload = group(CPU, 'workload');
  const daemon = asUnit ? group(CPU, 'daemon') : workload;
  const outside = group(CPU, 'outside');
  const memory = group(MEMORY, 'vm');
  writeFileSync(join(workload, 'cpu.shares'), String(SHARES));
  if (asUnit) writeFileSync(join(daemon, 'cpu.shares'), String(SHARES_OF_THE_SLICE));
  writeFileSync(join(outside, 'cpu.shares'), String(SHARES_OF_THE_SLICE));
  writeFileSync(join(memory, 'memory.limit_in_bytes'), String(MEMORY_MIB * MIB));
  enter(outside, process.pid);
  stack.defer(() => enter(CPU, process.pid));
  enter(daemon, pid);
  if (load === 'memory') enter(memory, pid);
  stack.defer(() => {
    // Unless it has ended already.
    if (existsSync(`/proc/${pid}`)) for (const root of [CPU, MEMORY]) enter(root, pid);
  });
  for (const script of scriptsOf(load, folder)) {
    const groups = load === 'memory' ? [workload, memory] : [workload];
    const entering = groups.map((path) => `echo $$ > ${path}/cgroup.procs`).join('; ');
    stack.use(startLoad(`${entering}; ${script}`));
  }
  const owned = stack.move();
  return { [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function enter(group: string, pid: number): void {
  writeFileSync(join(group, 'cgroup.procs'), String(pid));
}

/** Once the last of its processes has ended, which takes a moment. */
async function removeGroup(group: string): Promise<void> {
  const members = join(group, 'cgroup.procs');
  for (let tries = 0; tries < 100 && readFileSync(members, 'utf8') !== ''; tries++) await sleep(20);
  rmdirSync(group);
}

function scriptsOf(load: Load, folder: string): string[] {
  const spin = Array.from({ length: availableParallelism() }, () => 'while :; do :; done');
  const file = join(folder, 'load');
  switch (load) {
    case 'nothing':
      return [];
    case 'cpu':
      return spin;
    case 'memory':
      // Two thirds are the workload's own; what it reads and writes is more than the rest.
      return [
        ...spin,
        `(head -c ${Math.round(MEMORY_MIB * 0.66)}M /dev/zero; sleep 600) | tail -c ${MEMORY_MIB}M`,
        `while :; do dd if=/dev/zero of=${file} bs=1M count=${MEMORY_MIB}; cat ${file} >/dev/null; done`,
      ];
    case 'disk':
      return [1, 2].map((n) => `while :; do dd if=/dev/zero of=${file}-${n} bs=1M count=64 conv=fsync; done`);
  }
}

/** In a process group of its own, which ends as a whole. */
function startLoad(script: string): AsyncDisposable {
  const child = spawn('sh', ['-c', script], { stdio: 'ignore', detached: true });
  return {
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit');
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      await exited;
    },
  };
}
