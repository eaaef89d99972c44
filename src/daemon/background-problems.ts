import { EvictdError, messageOf } from '../base/errors.ts';

/** What goes wrong in the background, by set: each new reason is told once, and so is its end. */
export interface Problems {
  first(this: void): EvictdError | undefined;
  /** Never rejects. */
  watch(this: void, set: string, work: () => Promise<void>): Promise<void>;
}

export interface ProblemsDependencies {
  readonly onProblem: (set: string, error: EvictdError) => void;
  readonly onWorks: (set: string) => void;
}

/** What gave way to a drain, or found another commit under way, is no news. */
const ORDINARY = new Set(['gave-way', 'aborted', 'overtaken']);

export function isOrdinaryCode(code: string): boolean {
  return ORDINARY.has(code);
}

export function createProblems({ onProblem, onWorks }: ProblemsDependencies): Problems {
  const bySet = new Map<string, EvictdError>();
  return {
    first: () => [...bySet.values()][0],
    async watch(set: string, work: () => Promise<void>): Promise<void> {
      try {
        await work();
        if (bySet.delete(set)) onWorks(set);
      } catch (error) {
        const found =
          error instanceof EvictdError
            ? error
            : new EvictdError('background-failed', messageOf(error), { cause: error });
        if (isOrdinaryCode(found.code)) return;
        const isNews = bySet.get(set)?.message !== found.message;
        bySet.set(set, found);
        if (isNews) onProblem(set, found);
      }
    },
  };
}
