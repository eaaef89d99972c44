import { isBuiltin } from 'node:module';

import type { Plugin } from 'esbuild';

/**
 * Node's own modules by require, from whichever module. An `import` would read each export of them, which loads what
 * Node otherwise only loads when it is used: of `node:http` that is an undici, 15 MiB for as long as the daemon runs.
 */
export function leanBuiltins(): Plugin {
  return {
    name: 'lean-builtins',
    setup(build) {
      build.onResolve({ filter: /.*/ }, ({ path, kind }) =>
        isBuiltin(path) && (kind === 'import-statement' || kind === 'dynamic-import')
          ? { path, namespace: 'builtin' }
          : undefined,
      );
      build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
        contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)})`,
      }));
    },
  };
}

/**
 * undici without HTTP/2, which nobody here lets it speak (`allowH2: false`): to load Node's for it takes each process
 * and each thread 25 ms and 5 MiB. An undici on a Node without HTTP/2 goes on with the same.
 */
export function withoutHttp2(): Plugin {
  return {
    name: 'without-http2',
    setup(build) {
      build.onResolve({ filter: /^node:http2$/ }, ({ path }) => ({ path, namespace: 'left-out' }));
      build.onLoad({ filter: /.*/, namespace: 'left-out' }, () => ({
        contents: 'module.exports = { constants: {} }',
      }));
    },
  };
}
