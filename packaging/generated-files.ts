import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { completionScript } from '../src/cli/completion-script.ts';
import { manualPage } from '../src/cli/manual-page.ts';
import { COMMANDS } from '../src/cli/table.ts';
import { configJsonSchema } from '../src/config/json-schema.ts';
import { installCompressed } from './install-tree.ts';

/** Where editors find it: the packaged config.yaml names this path. */
export const SCHEMA_FILE = 'usr/share/evictd/config.schema.json';

/** Lays out below `root` what is made from the command table and the schema: man page, completion, JSON Schema. */
export async function layOutGenerated(
  root: string,
  { version, epoch }: { readonly version: string; readonly epoch: number },
): Promise<void> {
  const date = new Date(epoch * 1000).toISOString().slice(0, 10);
  await installCompressed(
    manualPage(COMMANDS, { version, date }),
    join(root, 'usr/share/man/man1/evictd.1.gz'),
  );
  const files = {
    'usr/share/bash-completion/completions/evictd': completionScript('bash', COMMANDS),
    'usr/share/zsh/site-functions/_evictd': completionScript('zsh', COMMANDS),
    'usr/share/fish/vendor_completions.d/evictd.fish': completionScript('fish', COMMANDS),
    [SCHEMA_FILE]: `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`,
  };
  for (const [path, text] of Object.entries(files)) {
    const target = join(root, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, text, { mode: 0o644 });
  }
}
