import { type Command, EXIT } from './command.ts';
import { JSON_OPTION } from './options.ts';

// The build puts text in their place; run from source they don't exist.
declare const EVICTD_VERSION: string | undefined;
declare const EVICTD_COMMIT: string | undefined;

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

/** What the build baked in; `development` for a run from source. */
export function buildInfo(): { readonly version: string; readonly commit: string } {
  return {
    version: typeof EVICTD_VERSION === 'undefined' ? 'development' : EVICTD_VERSION,
    commit: typeof EVICTD_COMMIT === 'undefined' ? 'development' : EVICTD_COMMIT,
  };
}
