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
const FILES_BY = ['base/', 'checkpoint/', 'daemon/', 'journal/'].map((folder) => SRC + folder);

/** The program's ways to the outside, and what is in their place here. Everything else is the program as it is. */
const MODULES: Readonly<Record<string, string>> = {
  'imds/transport.ts': 'transport.ts',
  'daemon/wire-hooks.ts': 'hooks.ts',
  'daemon/wire-store.ts': 'store.ts',
  'observe/webhook.ts': 'webhook.ts',
  'control/server.ts': 'control-server.ts',
  'checkpoint/pack/sparse.ts': 'sparse.ts',
  'checkpoint/restore/target/system-calls.ts': 'system-calls.ts',
};

const BUILTINS: Readonly<Record<string, string>> = {
  'node:child_process': 'child-process.ts',
  'node:crypto': 'crypto.ts',
  'node:fs': 'fs.ts',
  'node:fs/promises': 'fs-promises.ts',
};

const small = (file: string, name: string, from: string, to: string): Replacement => ({
  file: `checkpoint/${file}`,
  from: `const ${name} = ${from};`,
  to: `const ${name} = ${to};`,
});

/** A life has minutes, and files of some KiB: so that those have several chunks, and several packs. */
const SMALL: readonly Replacement[] = [
  {
    file: 'checkpoint/commit/workplace.ts',
    from: '{ chunkBytes: MIB, packBytes: 8 * MIB }',
    to: '{ chunkBytes: 4096, packBytes: 32_768 }',
  },
  small('commit/workplace.ts', 'LIST_AGE_MS_MAX', '15 * 60_000', '20_000'),
  small('commit/checkpointer.ts', 'LEFT_BYTES_MAX', '32 * 1024 ** 2', '12_288'),
  small('commit/send/read-files.ts', 'LARGE_BYTES', '4 * 1024 ** 2', '8192'),
  small('commit/send/file-parts.ts', 'PART_BYTES', '8 * 1024 ** 2', '16_384'),
  small('commit/send/file-parts.ts', 'STRETCH_BYTES_MIN', '32 * 1024 ** 2', '8192'),
  small('pack/read-items.ts', 'SMALL_BYTES', '4 * 1024 ** 2', '8192'),
  small('pack/open-pack.ts', 'ROWS_MAX', '32_768', '1000'),
  // Longer than requests are late; see sim-store.ts.
  small('retention/retain.ts', 'YOUNG_MS', 'HOUR_MS', '25_000'),
  // What shares the thread is the world here: it goes on while a file is read.
  small('pack/pace.ts', 'TURN_BYTES', '1024 ** 2', '4096'),
  {
    file: 'checkpoint/pack/pace.ts',
    from: '(resolve) => setImmediate(resolve)',
    to: '(resolve) => void clock.timer(Math.random() < 0.1 ? 80 : 1, () => resolve(undefined))',
  },
];

/** Everything that is imported from now on meets the simulated world. Throws when a text to replace isn't there. */
export function openDoors(replacements: readonly Replacement[]): void {
  const doors = new Map(Object.entries(MODULES).map(([file, door]) => [SRC + file, DOORS + door]));
  const wanted = Map.groupBy([...SMALL, ...replacements], ({ file }) => SRC + file);
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
