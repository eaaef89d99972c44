import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

/** A change of the program's text, to see whether somebody notices. */
export interface Replacement {
  /** Relative to `src`. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const SRC = new URL('../../src/', import.meta.url).href;
const DOORS = new URL('doors/', import.meta.url).href;
/** Whose files are those of the simulated VM. */
const FILES_BY = [
  ...['base/', 'checkpoint/', 'daemon/', 'journal/'].map((folder) => SRC + folder),
  new URL('../support/place-blocks.ts', import.meta.url).href,
];

/** The program's ways to the outside, and what is in their place here. Everything else is the program as it is. */
const MODULES: Readonly<Record<string, string>> = {
  'imds/transport.ts': 'transport.ts',
  'daemon/wire-hooks.ts': 'hooks.ts',
  'daemon/wire-store.ts': 'store.ts',
  'observe/webhook.ts': 'webhook.ts',
  'control/server.ts': 'control-server.ts',
  'checkpoint/reader.ts': 'reader.ts',
};

const BUILTINS: Readonly<Record<string, string>> = {
  'node:child_process': 'child-process.ts',
  'node:fs': 'fs.ts',
  'node:fs/promises': 'fs-promises.ts',
};

/** So that a file of some KiB has several blocks. */
const SMALL_BLOCKS: Replacement = {
  file: 'checkpoint/block-size.ts',
  from: 'export const BLOCK_BYTES_DEFAULT = 4 * MIB;',
  to: 'export const BLOCK_BYTES_DEFAULT = 4096;',
};

/** Everything that is imported from now on meets the simulated world. Throws when a text to replace isn't there. */
export function openDoors(replacements: readonly Replacement[]): void {
  const doors = new Map(Object.entries(MODULES).map(([file, door]) => [SRC + file, DOORS + door]));
  const wanted = Map.groupBy([SMALL_BLOCKS, ...replacements], ({ file }) => SRC + file);
  registerHooks({
    resolve(specifier, context, next) {
      const parent = context.parentURL ?? '';
      const builtin = BUILTINS[specifier];
      if (builtin !== undefined && FILES_BY.some((place) => parent.startsWith(place))) {
        return { url: DOORS + builtin, shortCircuit: true };
      }
      const found = next(specifier, context);
      const door = doors.get(found.url);
      return door === undefined ? found : { ...found, url: door };
    },
    load(url, context, next) {
      const loaded = next(url, context);
      const changes = wanted.get(url);
      if (changes === undefined || loaded.source === undefined) return loaded;
      // Node reads the files of `file:` URLs as bytes.
      let text = Buffer.from(loaded.source as Uint8Array).toString('utf8');
      for (const { from, to } of changes) {
        if (!text.includes(from)) throw new Error(`${fileURLToPath(url)} does not say any more: ${from}`);
        text = text.replace(from, () => to);
      }
      return { ...loaded, source: text };
    },
  });
}
