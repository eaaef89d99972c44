import { type Command, EXIT } from './command.ts';

export const configReferenceCommand: Command = {
  name: 'config reference',
  summary: 'print every key with its default, range and description, as a config file',
  options: [],
  async run({ out }) {
    const { configReference } = await import('../config/reference.ts');
    out.write(configReference());
    return EXIT.done;
  },
};
