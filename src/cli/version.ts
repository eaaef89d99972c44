import { buildInfo } from '../base/version.ts';
import { type Command, EXIT } from './command.ts';
import { JSON_OPTION } from './options.ts';

export const versionCommand: Command = {
  name: 'version',
  summary: 'print version, commit and Node version',
  options: [JSON_OPTION],
  async run({ options, out }) {
    const built = buildInfo();
    const node = process.version;
    out.write(
      options['json'] === true
        ? `${JSON.stringify({ ...built, node })}\n`
        : `evictd ${built.version} (commit ${built.commit}, Node ${node})\n`,
    );
    return EXIT.done;
  },
};
