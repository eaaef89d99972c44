import { readFile } from 'node:fs/promises';

import { z } from 'zod';

export interface ProcessUsage {
  /** Of all threads, and of children that have ended. */
  readonly cpuMs: number;
  readonly rss: number;
  readonly rssPeak: number;
  readonly anonymous: number;
  readonly threads: number;
}

/** Of one process; sizes in bytes. Linux: proc(5), ticks of 10 ms. */
export async function usageOf(pid: number): Promise<ProcessUsage> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const value = (name: string) => z.coerce.number().parse(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]);
  // The name, which may hold anything, ends at the last parenthesis; the four times are the 12th and later after it.
  const ticks = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15);
  return {
    cpuMs: ticks.reduce((sum, part) => sum + Number(part), 0) * 10,
    rss: value('VmRSS') * 1024,
    rssPeak: value('VmHWM') * 1024,
    anonymous: value('RssAnon') * 1024,
    threads: value('Threads'),
  };
}
