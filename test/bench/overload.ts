import { type Load, LOADS, hasControlGroups, loadMachine } from './load.ts';
import { type Loaded, measureNoticeToHook } from './notice-to-hook.ts';
import type { Summary } from './statistics.ts';

const NOTICES = 20;

export interface OverloadResult {
  readonly name: 'overload';
  readonly load: Load;
  /** Does the daemon have the priority of evictd.slice? */
  readonly asUnit: boolean;
  readonly toHook: Summary;
  readonly journal: Summary;
  /** How much longer than planned it was from one poll to the next. */
  readonly pollLate: Summary;
  /** Of the medians and of the 99th percentiles of `toHook`, against those of the idle machine. */
  readonly ratio: { readonly median: number; readonly p99: number };
}

/** From the notice to the first command of the hook, and how even the polls are, while others take what there is. */
export async function* measureOverload(): AsyncGenerator<OverloadResult> {
  if (!hasControlGroups()) {
    console.log('\nno overload: it needs root, and control groups of version 1 that systemd does not manage');
    return;
  }
  let idle: Summary | undefined;
  for (const load of LOADS) {
    for (const asUnit of load === 'nothing' ? [false] : [false, true]) {
      const beside: Loaded = (folder, pid) => loadMachine(load, asUnit, folder, pid);
      const { steps, pollLate } = await measureNoticeToHook({ notices: NOTICES, withSet: false }, beside);
      const { 'answer → first command of the hook': toHook, 'journal on disk': journal } = steps;
      if (toHook === undefined || journal === undefined) throw new Error('nothing was measured');
      idle ??= toHook;
      const ratio = { median: toHook.median / idle.median, p99: toHook.p99 / idle.p99 };
      yield { name: 'overload', load, asUnit, toHook, journal, pollLate, ratio };
    }
  }
}

export const OVERLOAD_HEADER = [
  'beside',
  'priority',
  'median',
  '× idle',
  'p99',
  '× idle',
  'of it journal',
  'p99',
  'polls late: p99',
  'max',
];

const BESIDE: Readonly<Record<Load, string>> = {
  nothing: 'nothing',
  cpu: 'a busy loop per core',
  memory: 'these, and memory full',
  disk: 'two that write and fsync',
};

export function overloadRow({ load, asUnit, toHook, journal, pollLate, ratio }: OverloadResult): string[] {
  const ms = (value: number) => value.toFixed(1);
  return [
    BESIDE[load],
    asUnit ? 'of evictd.slice' : 'as all',
    ms(toHook.median),
    ms(ratio.median),
    ms(toHook.p99),
    ms(ratio.p99),
    ms(journal.median),
    ms(journal.p99),
    ms(pollLate.p99),
    ms(pollLate.max),
  ];
}
