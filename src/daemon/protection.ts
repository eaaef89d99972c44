import type { EvictdError } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { SetProgress } from '../core/ports.ts';
import type { Drain, State } from '../core/state.ts';

/**
 * What would become of the work on this VM if a notice came now, the worst first: `blind`: no notice would be seen;
 * `unprotected`: one would save nothing of a set; `at-risk`: it might; `protected`. During a drain: `draining`, then
 * `drained` or `failed`.
 */
export type Verdict = 'blind' | 'unprotected' | 'at-risk' | 'protected' | 'draining' | 'drained' | 'failed';

export interface Protection {
  readonly verdict: Verdict;
  /** Why it isn't the best one, each with what to do, for people. */
  readonly reasons: readonly Reason[];
}

export interface Reason {
  readonly verdict: Verdict;
  readonly text: string;
  readonly remedy: string | undefined;
}

export interface ProtectionSources {
  readonly state: State;
  /** Since the newest good answer of the metadata service; undefined when there was none. */
  readonly lastGoodPollAgoMs: number | undefined;
  readonly pollError: EvictdError | undefined;
  readonly hooks: number;
  readonly progress: readonly SetProgress[];
  readonly store:
    | { readonly ready: boolean; readonly error: string | undefined; readonly remedy: string | undefined }
    | undefined;
  readonly stateProblem: EvictdError | undefined;
  /** What a notice would take for the uploads, and what it gives; undefined while it isn't known. */
  readonly upload: { readonly expectedMs: number; readonly windowMs: number } | undefined;
}

/** Two long polls that fail are no accident; an eviction gives 30 s. */
const BLIND_MS = 30_000;

/** Does the metadata service answer at all? */
export function isBlind(lastGoodPollAgoMs: number | undefined): boolean {
  return lastGoodPollAgoMs === undefined || lastGoodPollAgoMs > BLIND_MS;
}

const SEVERITY: readonly Verdict[] = ['blind', 'unprotected', 'at-risk'];

export function protectionOf(sources: ProtectionSources): Protection {
  const { drain } = sources.state;
  if (drain !== undefined) return { verdict: verdictOfDrain(drain), reasons: [] };
  const reasons = [...ofPolls(sources), ...ofStore(sources), ...ofRest(sources)];
  const verdict = SEVERITY.find((one) => reasons.some((reason) => reason.verdict === one)) ?? 'protected';
  return { verdict, reasons };
}

function verdictOfDrain({ phase, outcome }: Drain): Verdict {
  if (outcome === undefined) return 'draining';
  if (outcome === 'failure') return 'failed';
  return phase === 'waiting' ? 'drained' : 'draining';
}

function ofPolls({ state, lastGoodPollAgoMs, pollError }: ProtectionSources): readonly Reason[] {
  if (isBlind(lastGoodPollAgoMs)) {
    const since =
      lastGoodPollAgoMs === undefined
        ? 'has never answered'
        : `is silent for ${formatDuration(lastGoodPollAgoMs)}`;
    const why = pollError === undefined ? '' : ` (${pollError.message})`;
    const text = `no notice would be seen: the metadata service ${since}${why}`;
    const remedy = pollError?.remedy ?? 'the first answer may take two minutes; then see `evictd doctor`';
    return [{ verdict: 'blind', text, remedy }];
  }
  if (state.vmName !== undefined) return [];
  return [
    {
      verdict: 'blind',
      text: 'no notice would be taken for this VM: its own name is not known yet',
      remedy: 'see `evictd doctor`, or set vm.name',
    },
  ];
}

function ofStore({ hooks, progress, store }: ProtectionSources): readonly Reason[] {
  if (progress.length === 0) {
    if (hooks > 0) return [];
    return [
      {
        verdict: 'unprotected',
        text: 'a notice would save nothing: there are neither hooks nor sets',
        remedy: 'configure hooks or a checkpoint',
      },
    ];
  }
  if (store?.ready !== true) {
    const text = `a notice would save nothing: the store can't be used: ${store?.error ?? 'it is being opened'}`;
    return [{ verdict: 'unprotected', text, remedy: store?.remedy }];
  }
  const trouble =
    store.error === undefined
      ? []
      : [{ verdict: 'at-risk' as const, text: store.error, remedy: store.remedy }];
  const unknown = progress.filter(({ scanned, committedAt }) => !scanned && committedAt === undefined);
  const never = unknown.map(({ name }) => ({
    verdict: 'at-risk' as const,
    text: `the set ${name} has not been looked at yet, and no checkpoint of it is known`,
    remedy: 'evictd checkpoint takes one now',
  }));
  return [...trouble, ...never];
}

function ofRest({ stateProblem, upload }: ProtectionSources): readonly Reason[] {
  const state =
    stateProblem === undefined
      ? []
      : [
          {
            verdict: 'at-risk' as const,
            text: `a restart in the middle of a drain would begin it anew: ${stateProblem.message}`,
            remedy: stateProblem.remedy,
          },
        ];
  if (upload === undefined || upload.expectedMs <= upload.windowMs) return state;
  const needs = formatDuration(upload.expectedMs);
  return [
    ...state,
    {
      verdict: 'at-risk',
      text: `a notice gives ${formatDuration(upload.windowMs)}, and what is not stored yet would take about ${needs}`,
      remedy: 'raise checkpoint.background.maxRate, or save less',
    },
  ];
}
