import type { Replacement } from './boot.ts';

/** A mistake that somebody could make, and how the simulation has to put it. */
export interface Mutation {
  readonly replacements: readonly Replacement[];
  readonly caughtAs: RegExp;
  /** From here on it is found after some lives. */
  readonly seed: number;
}
