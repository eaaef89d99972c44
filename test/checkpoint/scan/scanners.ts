import { scanSet } from '../../../src/checkpoint/scan/scan.ts';
import type { Scan } from '../../../src/checkpoint/scan/scan.ts';
import type { ListJob, ListResult, LookJob, LookResult } from '../../../src/checkpoint/scan/scan-job.ts';
import { listSmall, lookSmall } from '../../../src/checkpoint/scan/scan-small.ts';
import { listFolders, lookAt } from '../../../src/checkpoint/scan/scan-thread.ts';
import { openSetFolder } from '../../../src/checkpoint/scan/set-folder.ts';
import type { SetOptions } from '../../../src/checkpoint/scan/set-options.ts';
import type { Scanner } from '../../../src/checkpoint/scan/walk/walk.ts';

/** What a thread does, and what is done without one. */
export const scanners = {
  'as a thread does': {
    list: async (job: ListJob): Promise<ListResult> => listFolders(job),
    look: async (job: LookJob): Promise<LookResult> => lookAt(job),
  },
  'without a thread': {
    list: async (job: ListJob): Promise<ListResult> => (await listSmall(job)) ?? listFolders(job),
    look: async (job: LookJob): Promise<LookResult> => (await lookSmall(job)) ?? lookAt(job),
  },
} as const satisfies Record<string, Scanner>;

export const threadScanner = scanners['as a thread does'];

/** One that calls `before` ahead of each job, with its number, from 0 on. */
export function disturbed(before: (job: number) => Promise<void>, scanner: Scanner = threadScanner): Scanner {
  let jobs = 0;
  return {
    async list(job, signal) {
      await before(jobs++);
      return scanner.list(job, signal);
    },
    async look(job, signal) {
      await before(jobs++);
      return scanner.look(job, signal);
    },
  };
}

export async function scan(
  path: string,
  options: Partial<SetOptions> = {},
  scanner: Scanner = threadScanner,
  signal = new AbortController().signal,
): Promise<Scan> {
  const set = { name: 'job', path, include: ['**'], exclude: [], priority: 50, ...options };
  await using folder = await openSetFolder(set);
  return await scanSet(set, folder, scanner, signal);
}

export function pathsOf(entries: readonly { readonly path: string }[]): readonly string[] {
  return entries.map(({ path }) => path);
}
