import { messageOf } from '../../src/base/errors.ts';

/** A rule of a contract that is tried in a process of its own. */
interface Rule {
  readonly title: string;
  readonly run: () => Promise<unknown>;
}

/** Tries a rule and prints how it went as a line of JSON; without `error` it is kept. */
export async function printRule({ title, run }: Rule): Promise<void> {
  const error = await run().then(() => undefined, messageOf);
  console.log(JSON.stringify({ title, error }));
}

/** What `printRule` has printed. */
export function readRules(text: string): readonly unknown[] {
  return text
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
}
