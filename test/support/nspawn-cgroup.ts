import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

import { isErrno } from '../../src/base/errors.ts';

const PREFIX = 'evictd-test-';

/** Control groups of one container, one in each hierarchy that systemd uses (cgroup v1 has a second, v2 one). */
export interface ContainerCgroup extends Disposable {
  /** Files that a process writes its id to, to become a member. */
  readonly memberFiles: readonly string[];
}

/** Two containers in the same group would manage each other's services. */
export function createCgroup(number: number): ContainerCgroup {
  removeAbandoned();
  const groups = hierarchies().map((hierarchy) => join(hierarchy, `${PREFIX}${process.pid}-${number}`));
  for (const group of groups) mkdirSync(group, { recursive: true });
  return {
    memberFiles: groups.map((group) => join(group, 'cgroup.procs')),
    [Symbol.dispose]: () => {
      for (const group of groups) removeTree(group);
    },
  };
}

function hierarchies(): string[] {
  const all = ['/sys/fs/cgroup/systemd', '/sys/fs/cgroup/unified', '/sys/fs/cgroup'];
  return all.filter((folder) => existsSync(join(folder, 'cgroup.procs')));
}

/** Of test runs that were killed. */
function removeAbandoned(): void {
  for (const hierarchy of hierarchies()) {
    for (const name of readdirSync(hierarchy)) {
      const pid = name.startsWith(PREFIX) ? name.slice(PREFIX.length).split('-')[0] : undefined;
      if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
      try {
        removeTree(join(hierarchy, name));
      } catch (error) {
        // Its processes are still ending; the next run removes it.
        if (!isErrno(error, 'EBUSY')) throw error;
      }
    }
  }
}

/** Control groups go by rmdir, children first; the files in them belong to the kernel. */
function removeTree(group: string): void {
  if (!existsSync(group)) return;
  for (const entry of readdirSync(group, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(group, entry.name));
  }
  rmdirSync(group);
}
