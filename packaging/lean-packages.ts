import type { Plugin } from 'esbuild';

/**
 * undici loads all of itself, web standards and mocks included, which takes 5 MiB for as long as the daemon runs.
 * This is what is used of it: as its own index.js makes it, with `request` as the only method beside `dispatch`.
 */
const UNDICI = `
const Dispatcher = require('undici/lib/dispatcher/dispatcher.js');
Dispatcher.prototype.request = require('undici/lib/api/api-request.js');
exports.Pool = require('undici/lib/dispatcher/pool.js');
`;

/** What is loaded in place of a whole package. An import of anything else from it fails the build. */
export function leanPackages(root: string): Plugin {
  return {
    name: 'lean-packages',
    setup(build) {
      build.onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'lean' }));
      build.onLoad({ filter: /.*/, namespace: 'lean' }, () => ({ contents: UNDICI, resolveDir: root }));
    },
  };
}
