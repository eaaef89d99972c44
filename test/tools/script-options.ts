import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';

/**
 * What a script of the project was called with. `usage` is its call, on one line, with what it does on the next ones.
 * `--help` prints it and ends the process; what the script doesn't know ends it with exit code 2.
 */
export function scriptOptions<Options extends ParseArgsOptionsConfig>(
  usage: string,
  options: Options,
  args: readonly string[],
) {
  if (args.includes('--help')) {
    console.log(usage);
    process.exit(0);
  }
  try {
    return parseArgs({ args: [...args], options }).values;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    console.error(usage);
    process.exit(2);
  }
}

/** A number that an option was given as, if it was; ends the process with exit code 2 where it is none. */
export function numberOf(option: string, value: string | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  const number = Number(value);
  if (value.trim() !== '' && number >= 0) return number;
  console.error(`--${option} ${value}: not a number`);
  process.exit(2);
}
