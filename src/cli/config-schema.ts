import { type Command, EXIT } from './command.ts';

export const configSchemaCommand: Command = {
  name: 'config schema',
  summary: 'print the JSON Schema of a config file, for editors',
  options: [],
  async run({ out }) {
    const { configJsonSchema } = await import('../config/json-schema.ts');
    out.write(`${JSON.stringify(configJsonSchema(), undefined, 2)}\n`);
    return EXIT.done;
  },
};
