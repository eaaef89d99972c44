import type { Invocation } from './command.ts';

export const RED = 31;
export const GREEN = 32;
export const YELLOW = 33;

/** A terminal, and nobody who asked for none (no-color.org). */
export function hasColors({ out, env }: Pick<Invocation, 'out' | 'env'>): boolean {
  return out.isTerminal && (env['NO_COLOR'] ?? '') === '';
}

/** In a colour of `console_codes(4)`, or more of it (`1;31`: bold, too), where there are colours. */
export function paint(text: string, color: number | string, isPainted: boolean): string {
  return isPainted ? `\u001B[${color}m${text}\u001B[0m` : text;
}
