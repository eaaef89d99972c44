import { type Command, EXIT_MEANINGS, type OptionSpec } from './command.ts';
import { HELP_OPTION, synopsisOf } from './options.ts';

/** What the table of commands doesn't know. */
export interface PageFacts {
  readonly version: string;
  /** Day that the page is of, `YYYY-MM-DD`. */
  readonly date: string;
}

const FILES: readonly (readonly [file: string, meaning: string])[] = [
  ['/etc/evictd/config.yaml', 'The configuration; `evictd config reference` explains every key.'],
  ['/etc/evictd/conf.d/*.yaml', 'Merged into it in name order.'],
  ['/etc/evictd/hooks.d/*', 'Executables that run before the checkpoint, in name order.'],
  ['/var/lib/evictd/journal.json', 'What the daemon remembers over a restart.'],
  ['/run/evictd/evictd.sock', 'The control socket, for root and the group evictd.'],
];

const ENVIRONMENT: readonly (readonly [variable: string, meaning: string])[] = [
  ['EVICTD_*', 'Keys of the configuration; `evictd config reference` names the variable of each.'],
  ['NO_COLOR', 'Where it is set and not empty there are no colours and no progress bars.'],
];

/** evictd(1) in man(7) macros, for `man` and mandoc. */
export function manualPage(commands: readonly Command[], { version, date }: PageFacts): string {
  return [
    `.\\" Made from the table of commands.`,
    `.TH EVICTD 1 "${date}" ${quoted(`evictd ${version}`)} ${quoted('User Commands')}`,
    '.SH NAME',
    text('evictd - drain, checkpoint and acknowledge when an Azure Spot VM is about to be evicted'),
    '.SH SYNOPSIS',
    '.B evictd',
    '.I command',
    text('[options]'),
    '.SH DESCRIPTION',
    text(
      'evictd runs inside an Azure Spot VM and polls the Scheduled Events of the metadata service. When this VM is ' +
        'to be evicted it runs the drain hooks, uploads the checkpoints to Azure Blob Storage and acknowledges the ' +
        'event, all inside the notice of at most 30 s. The replacement VM restores.',
    ),
    '.PP',
    text('Durations are written 500ms, 8s, 5m; sizes 64KiB, 8MiB, 1GiB.'),
    '.SH COMMANDS',
    ...commands.flatMap(commandLines),
    '.SH EXIT STATUS',
    ...Object.entries(EXIT_MEANINGS).flatMap(([code, meaning]) => tagged(code, `${meaning}.`)),
    '.SH FILES',
    ...FILES.flatMap(([file, meaning]) => tagged(file, meaning)),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([variable, meaning]) => tagged(variable, meaning)),
    '.SH SEE ALSO',
    '.BR systemd.service (5),',
    '.BR journalctl (1)',
    '',
  ].join('\n');
}

function commandLines(command: Command): readonly string[] {
  const { summary, description, positionals, options, manual } = command;
  return [
    `.SS ${quoted(`evictd ${synopsisOf(command)}`)}`,
    text(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`),
    ...(description ?? '')
      .split(/\n+/)
      .flatMap((paragraph) => (paragraph === '' ? [] : ['.PP', text(paragraph)])),
    ...(positionals ?? []).flatMap((one) => tagged(one.name, one.description)),
    ...[...options, HELP_OPTION].flatMap((option) => tagged(optionTitle(option), option.description)),
    ...(manual === undefined ? [] : ['.PP', '.EX', ...manual.trimEnd().split('\n').map(verbatim), '.EE']),
  ];
}

function optionTitle({ name, value }: OptionSpec): string {
  return value === undefined ? `--${name}` : `--${name} ${value}`;
}

function tagged(title: string, meaning: string): readonly string[] {
  return ['.TP', `.B ${escaped(title)}`, text(meaning)];
}

/** A line of running text, with what stands between backquotes in bold. */
function text(line: string): string {
  return protectedStart(escaped(line).replaceAll(/`([^`]*)`/g, String.raw`\fB$1\fP`));
}

function verbatim(line: string): string {
  return protectedStart(escaped(line));
}

/** A dot or quote at the start of a line would be taken for a macro. */
function protectedStart(line: string): string {
  return /^[.']/.test(line) ? String.raw`\&${line}` : line;
}

function quoted(argument: string): string {
  return `"${escaped(argument).replaceAll('"', String.raw`\(dq`)}"`;
}

/** Dashes as they are typed, and what isn't ASCII by its number, so that no locale and no formatter changes it. */
function escaped(line: string): string {
  return line
    .replaceAll('\\', String.raw`\e`)
    .replaceAll('-', String.raw`\-`)
    .replaceAll(/[^\u0020-\u007E]/gu, (sign) => {
      const number = (sign.codePointAt(0) ?? 0).toString(16).toUpperCase();
      return String.raw`\[u${number.padStart(4, '0')}]`;
    });
}
