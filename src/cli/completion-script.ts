import type { Command, OptionSpec } from './command.ts';
import { HELP_OPTION, wordsAfter } from './options.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A script for the shell that completes all commands of the table, their options and files as their values. */
export function completionScript(shell: Shell, commands: readonly Command[]): string {
  const places = placesOf(commands);
  const lines = { bash: bashLines, zsh: zshLines, fish: fishLines }[shell](places);
  return [...lines, ''].join('\n');
}

/** After which words what may stand. */
interface Place {
  /** '' for the program, `checkpoints`, `checkpoints prune`. */
  readonly name: string;
  readonly options: readonly OptionSpec[];
  readonly words: readonly { readonly word: string; readonly summary: string }[];
  /** Values of the first argument. */
  readonly choices: readonly string[];
  /** What follows is another program with its arguments. */
  readonly takesProgram: boolean;
}

function placesOf(commands: readonly Command[]): readonly Place[] {
  const names = new Set([
    '',
    ...commands.flatMap(({ name }) => [name.split(' ').slice(0, -1).join(' '), name]),
  ]);
  return [...names].map((name) => {
    const command = commands.find((one) => one.name === name);
    const [argument] = command?.positionals ?? [];
    return {
      name,
      options: [...(command?.options ?? []), HELP_OPTION],
      words: wordsAfter(name, commands).map((word) => ({
        word,
        summary: commands.find((one) => one.name === `${name} ${word}`.trim())?.summary ?? `${word} …`,
      })),
      choices: argument?.choices ?? [],
      takesProgram: argument?.variadic === true,
    };
  });
}

function bashLines(places: readonly Place[]): readonly string[] {
  const values = places.flatMap(({ name, options }) =>
    options
      .filter(({ value }) => value !== undefined)
      .map((option) => `    '${name}:--${option.name}') ${bashValue(option)}; return ;;`),
  );
  const words = places.map(({ name, options, words: next, choices }) => {
    const all = [...next.map(({ word }) => word), ...choices, ...options.map((option) => `--${option.name}`)];
    return `    '${name}') words='${all.join(' ')}' ;;`;
  });
  const names = places.filter(({ name }) => name !== '').map(({ name }) => `'${name}'`);
  const programs = places.filter(({ takesProgram }) => takesProgram).map(({ name }) => `'${name}'`);
  return [
    '# bash completion of evictd',
    '_evictd() {',
    // Bash takes the = of --option=value for a word of its own.
    `  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command='' words='' i`,
    `  [[ $current == = ]] && current=''`,
    '  [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}',
    '  for ((i = 1; i < COMP_CWORD; i++)); do',
    '    case "$command${command:+ }${COMP_WORDS[i]}" in',
    `      ${names.join(' | ')}) command="$command\${command:+ }\${COMP_WORDS[i]}" ;;`,
    ...programs.map((name) => `      ${name.replace(/'$/, " --'")}) command=-- ;;`),
    '    esac',
    '  done',
    '  compopt -o filenames 2>/dev/null',
    '  case "$command:$previous" in',
    '    --:--) mapfile -t COMPREPLY < <(compgen -c -- "$current"); return ;;',
    '    --:*) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;',
    ...values,
    '  esac',
    '  case $command in',
    ...words,
    '  esac',
    '  compopt +o filenames 2>/dev/null',
    '  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")',
    '}',
    'complete -F _evictd evictd',
  ];
}

function bashValue({ value, choices }: OptionSpec): string {
  if (choices !== undefined)
    return `mapfile -t COMPREPLY < <(compgen -W '${choices.join(' ')}' -- "$current")`;
  if (value === 'FILE') return 'mapfile -t COMPREPLY < <(compgen -f -- "$current")';
  return value === 'DIR' ? 'mapfile -t COMPREPLY < <(compgen -d -- "$current")' : 'COMPREPLY=()';
}

function zshLines(places: readonly Place[]): readonly string[] {
  return [
    '#compdef evictd',
    ...places.flatMap(zshFunction),
    // Autoloaded, the file is the function and has to call it; sourced, it only has to be made known.
    'if [ "$funcstack[1]" = _evictd ]; then _evictd "$@"; else compdef _evictd evictd; fi',
  ];
}

function zshFunction({ name, options, words, choices, takesProgram }: Place): readonly string[] {
  const first = choices.length > 0 ? [`'1:value:(${choices.join(' ')})'`] : [];
  const next = words.length > 0 ? [`'1: :->word'`, `'*:: :->rest'`] : first;
  const specs = [...options.map(zshOption), ...(takesProgram ? [`'*::: :_normal'`] : next)];
  return [
    `${zshName(name)}() {`,
    '  local curcontext=$curcontext state line',
    '  typeset -A opt_args',
    `  _arguments -C ${specs.join(' \\\n    ')}${words.length > 0 ? ' && return' : ''}`,
    ...(words.length === 0 ? [] : zshWords(name, words)),
    '}',
  ];
}

function zshWords(name: string, words: Place['words']): readonly string[] {
  return [
    '  case $state in',
    '    word)',
    '      local -a words_here=(',
    ...words.map(({ word, summary }) => `        ${singleQuoted(`${word}:${summary}`)}`),
    '      )',
    `      _describe command words_here ;;`,
    '    rest)',
    '      case $line[1] in',
    ...words.map(({ word }) => `        ${word}) ${zshName(`${name} ${word}`.trim())} ;;`),
    '      esac ;;',
    '  esac',
  ];
}

function zshName(name: string): string {
  return ['_evictd', ...name.split(' ').filter((word) => word !== '')].join('_').replaceAll('-', '_');
}

function zshOption({ name, value, description, choices }: OptionSpec): string {
  const title = `--${name}[${description.replaceAll(/[\][]/g, String.raw`\$&`)}]`;
  if (value === undefined) return singleQuoted(title);
  const action =
    choices === undefined ? ({ FILE: '_files', DIR: '_files -/' }[value] ?? ' ') : `(${choices.join(' ')})`;
  return singleQuoted(`${title.replace('[', '=[')}:${value}:${action}`);
}

function fishLines(places: readonly Place[]): readonly string[] {
  const names = places.filter(({ name }) => name !== '').map(({ name }) => singleQuoted(name));
  return [
    '# fish completion of evictd',
    'function __evictd_after --description "Is the command line so far of this command?"',
    `    set -l names ${names.join(' ')}`,
    '    set -l command',
    '    for word in (commandline -opc)[2..]',
    '        test "$word" = --; and break',
    '        contains -- (string join " " -- $command $word) $names; and set -a command $word',
    '    end',
    '    test "$command" = "$argv[1]"',
    'end',
    'complete -c evictd -f',
    `complete -c evictd -n 'contains -- -- (commandline -opc)' -F -a '(__fish_complete_command)'`,
    ...places.flatMap(({ name, options, words, choices }) => {
      const at = `complete -c evictd -n ${singleQuoted(`__evictd_after "${name}"`)}`;
      return [
        ...words.map(({ word, summary }) => `${at} -a ${word} -d ${singleQuoted(summary)}`),
        ...choices.map((choice) => `${at} -a ${choice}`),
        ...options.map(
          (option) => `${at} -l ${option.name}${fishValue(option)} -d ${singleQuoted(option.description)}`,
        ),
      ];
    }),
  ];
}

function fishValue({ value, choices }: OptionSpec): string {
  if (value === undefined) return '';
  if (choices !== undefined) return ` -x -a ${singleQuoted(choices.join(' '))}`;
  if (value === 'FILE') return ' -r -F';
  return value === 'DIR' ? ` -x -a ${singleQuoted('(__fish_complete_directories)')}` : ' -x';
}

function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
