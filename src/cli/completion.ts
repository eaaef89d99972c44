import { type Command, EXIT } from './command.ts';
import { SHELLS, completionScript } from './completion-script.ts';

/** The table is handed in, since this command is part of it. */
export function completionCommand(commands: () => readonly Command[]): Command {
  return {
    name: 'completion',
    summary: 'print what makes a shell complete evictd commands and options',
    description: 'The packages install it; it is needed only where evictd was installed by hand.',
    manual:
      'Into the running shell:\n' +
      '  source <(evictd completion bash)\n' +
      '  source <(evictd completion zsh)      # after compinit\n' +
      '  evictd completion fish | source',
    positionals: [{ name: 'shell', description: 'whose completion', required: true, choices: SHELLS }],
    options: [],
    async run({ positionals, out }) {
      const shell = SHELLS.find((one) => one === positionals[0]) ?? 'bash';
      out.write(completionScript(shell, commands()));
      return EXIT.done;
    },
  };
}
