import type { Effect, Moment, NoteCode } from './effect.ts';
import type { Policy } from './policy.ts';

/** What every part of the decision looks at besides the state. */
export interface Context {
  readonly policy: Policy;
  readonly now: Moment;
}

/** A new value and what is to be done because of it. */
export interface Step<T> {
  readonly value: T;
  readonly effects: readonly Effect[];
}

export function step<T>(value: T, ...effects: readonly Effect[]): Step<T> {
  return { value, effects };
}

/** Applies `next` to the value and keeps the effects of both in order. */
export function andThen<T, U>(first: Step<T>, next: (value: T) => Step<U>): Step<U> {
  const second = next(first.value);
  return { value: second.value, effects: [...first.effects, ...second.effects] };
}

export function note(
  level: 'info' | 'warn' | 'error',
  code: NoteCode,
  fields: Readonly<Record<string, unknown>> = {},
): Effect {
  return { kind: 'note', level, code, fields };
}
