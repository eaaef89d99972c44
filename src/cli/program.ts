import { Argument, Command as Commander, CommanderError, Option } from 'commander';

import {
  type Command,
  EXIT,
  EXIT_MEANINGS,
  type ExitCode,
  type Invocation,
  type OptionSpec,
} from './command.ts';
import { argumentTitle, wordsAfter } from './options.ts';

/** What a command gets besides its arguments. */
export type Surroundings = Pick<Invocation, 'env' | 'out' | 'err' | 'signal'>;

/**
 * Runs the command that `args` (without node and script) name and answers its exit code.
 * A wrong command line is one line on stderr and exit code 2; what the command itself throws is passed on.
 */
export async function runProgram(
  commands: readonly Command[],
  args: readonly string[],
  surroundings: Surroundings,
): Promise<ExitCode> {
  let code: ExitCode = EXIT.done;
  const program = buildProgram(commands, surroundings, (result) => (code = result));
  try {
    await program.parseAsync(spelledOut(args), { from: 'user' });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return EXIT.done;
    // What commander does when only a group of commands was named: the whole help, as an error.
    const problem = error.code === 'commander.help' ? 'a command is missing' : usageText(error.message);
    surroundings.err.write(`evictd: ${problem}; ${whereToLook(commands, args)}\n`);
    return EXIT.usage;
  }
}

/** What fingers type by habit, whatever the program. */
function spelledOut([first, ...more]: readonly string[]): string[] {
  if (first === undefined) return [];
  return [first === '--version' || first === '-V' ? 'version' : first, ...more];
}

/** The help page of the command that was meant, as far as that can be told. */
function whereToLook(commands: readonly Command[], args: readonly string[]): string {
  const line = `${args.join(' ')} `;
  const meant = commands
    .filter(({ name }) => line.startsWith(`${name} `))
    .toSorted((one, other) => other.name.length - one.name.length)[0];
  if (meant !== undefined) return `\`evictd ${meant.name} --help\` shows how it is used`;
  const group = args[0];
  return commands.some(({ name }) => name.startsWith(`${group ?? ''} `))
    ? `\`evictd ${group ?? ''} --help\` lists the commands`
    : '`evictd --help` lists the commands';
}

/** The commander program for the table; also the source of help pages. */
export function buildProgram(
  commands: readonly Command[],
  surroundings: Surroundings,
  onDone: (code: ExitCode) => void,
): Commander {
  const program = configured(new Commander('evictd'), surroundings)
    .description('Drains, checkpoints and acknowledges when an Azure Spot VM is about to be evicted.')
    .addHelpText('after', `\nExit codes:\n${exitCodes()}`);
  const groups = new Map<string, Commander>([['', program]]);
  for (const command of commands) {
    const words = command.name.split(' ');
    const parent = groupOf(words.slice(0, -1), commands, groups, surroundings);
    const name = words.at(-1) ?? command.name;
    const parsed = configured(parent.command(name), surroundings).summary(command.summary);
    parsed.description(
      [
        `${capitalised(command.summary)}.`,
        ...(command.description === undefined ? [] : ['', command.description]),
      ].join('\n'),
    );
    for (const spec of command.positionals ?? []) {
      const argument = new Argument(argumentTitle(spec), spec.description);
      parsed.addArgument(spec.choices === undefined ? argument : argument.choices([...spec.choices]));
    }
    const options = command.options.map((spec) => ({ spec, option: commanderOption(spec) }));
    for (const { option } of options) parsed.addOption(option);
    // Commander would break its lines.
    if (command.manual !== undefined) parsed.addHelpText('after', `\n${command.manual}`);
    parsed.action(async () => {
      const values = options.map(({ spec, option }) => [spec.name, optionValue(parsed, option)] as const);
      onDone(
        await command.run({ ...surroundings, options: Object.fromEntries(values), positionals: parsed.args }),
      );
    });
    // `checkpoints` is a command, and with a word after it a group.
    groups.set(command.name, parsed);
  }
  return program;
}

function groupOf(
  words: readonly string[],
  commands: readonly Command[],
  groups: Map<string, Commander>,
  surroundings: Surroundings,
): Commander {
  const name = words.join(' ');
  const known = groups.get(name);
  if (known !== undefined) return known;
  const parent = groupOf(words.slice(0, -1), commands, groups, surroundings);
  const group = configured(parent.command(words.at(-1) ?? name), surroundings)
    .summary(`${wordsAfter(name, commands).join(', ')}: \`evictd ${name} --help\``)
    .helpCommand(false);
  groups.set(name, group);
  return group;
}

function exitCodes(): string {
  return Object.entries(EXIT_MEANINGS)
    .map(([code, meaning]) => `  ${code.padEnd(4)}${meaning}`)
    .join('\n');
}

function configured(command: Commander, { out }: Surroundings): Commander {
  return (
    command
      .exitOverride()
      .allowExcessArguments(false)
      // `checkpoints` is a command with options, and so is `checkpoints prune`: what follows a word belongs to it.
      .enablePositionalOptions()
      .showSuggestionAfterError(true)
      .configureOutput({
        writeOut: (text) => out.write(text),
        // Errors are thrown as well, and reported in one place.
        writeErr: () => {},
      })
  );
}

function commanderOption({ name, value, description, required, choices }: OptionSpec): Option {
  const option = new Option(value === undefined ? `--${name}` : `--${name} <${value}>`, description);
  if (choices !== undefined) option.choices([...choices]);
  return option.makeOptionMandatory(required === true);
}

function optionValue(command: Commander, option: Option): string | boolean | undefined {
  const value: unknown = command.getOptionValue(option.attributeName());
  return typeof value === 'string' || typeof value === 'boolean' ? value : undefined;
}

/** `error: unknown option '--jsn'\n(Did you mean --json?)` in one line. */
function usageText(message: string): string {
  return message
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
