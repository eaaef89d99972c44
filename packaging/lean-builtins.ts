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
