import { reportFailure } from '../../src/cli/failure.ts';
import { runProgram } from '../../src/cli/program.ts';
import { COMMANDS } from '../../src/cli/table.ts';

export interface TranscriptOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Hears all that was written so far, at each write. */
  readonly onWrite?: (text: string) => void;
  /** What differs from run to run, and what stands for it. */
  readonly masks?: readonly (readonly [RegExp | string, string])[];
}

const MASKS = [
  // As wide as what they stand for, so that tables stay in line.
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, '2026-01-01T00:00:00.000Z'],
  [/[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/g, '00000000-0000-0000-0000-000000000000'],
  [/\d+(?:\.\d)? (?:ms|s|min \d+ s)\b/g, 'N s'],
  [/\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT/g, 'Thu, 01 Jan 2026 00:00:00 GMT'],
  [/"(\w+Ms|SecondsLeft)":[\d.]+/g, '"$1":N'],
] as const;

/**
 * A command and all that it prints, as somebody at a terminal without colours sees it: stdout and stderr in their order,
 * the lines of stderr after `2> `, and the exit code. Runs in this process.
 */
export async function transcript(
  args: readonly string[],
  { env = {}, signal = new AbortController().signal, onWrite, masks = [] }: TranscriptOptions = {},
): Promise<string> {
  let text = '';
  const output = (mark: string) => {
    const write = (more: string) => {
      text += mark === '' ? more : more.replaceAll(/^(?=.)/gm, mark);
      onWrite?.(text);
    };
    return { write, draw: write, isTerminal: false };
  };
  const [out, err] = [output(''), output('2> ')];
  const code = await runProgram(COMMANDS, args, { env, out, err, signal }).catch((error: unknown) =>
    reportFailure(error, err),
  );
  const line = args.map((word) => (/[\s{}"']/.test(word) ? `'${word}'` : word)).join(' ');
  const whole = `$ ${['evictd', line].join(' ').trim()}\n${text}${text === '' || text.endsWith('\n') ? '' : '\n'}[exit ${code}]\n`;
  return [...masks, ...MASKS].reduce<string>((masked, [what, name]) => masked.replaceAll(what, name), whole);
}
