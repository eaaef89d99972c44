import { readFile } from 'node:fs/promises';

import { expect, test } from 'vitest';
import { z } from 'zod';

const Lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({ hasInstallScript: z.boolean().default(false), dev: z.boolean().default(false) }),
  ),
});

test('no package that the installed product is made of has a script that would run at its installation', async () => {
  const text = await readFile(new URL('../../package-lock.json', import.meta.url), 'utf8');
  const packages = Object.entries(Lockfile.parse(JSON.parse(text)).packages);
  const bundled = packages.filter(([name, { dev }]) => name !== '' && !dev);
  expect(bundled.map(([name]) => name)).toContain('node_modules/zod');
  expect(bundled.filter(([, { hasInstallScript }]) => hasInstallScript)).toEqual([]);
});

test('no script of any package runs when the project is installed', async () => {
  const npmrc = await readFile(new URL('../../.npmrc', import.meta.url), 'utf8');
  expect(npmrc).toMatch(/^ignore-scripts=true$/m);
});
