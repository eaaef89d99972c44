import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import * as z from 'zod';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** An npm package whose code is in the bundle. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** As SPDX writes it. */
  readonly licence: string;
  readonly licenceText: string;
  /** Of the tarball it was installed from, as the lockfile has it. */
  readonly integrity: string;
}

const Manifest = z.object({
  name: z.string(),
  version: z.string(),
  license: z.string().optional(),
  // What old packages have instead.
  licenses: z.array(z.object({ type: z.string() })).default([]),
});
const Lockfile = z.object({ packages: z.record(z.string(), z.object({ integrity: z.string().optional() })) });

/** What is to be known of the packages in these folders (`node_modules/…`), in order of their names. */
export async function describePackages(folders: readonly string[]): Promise<readonly BundledPackage[]> {
  const lockfile = Lockfile.parse(JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')));
  return Promise.all(
    folders.map(async (folder) => {
      const { name, version, license, licenses } = Manifest.parse(
        JSON.parse(await readFile(join(ROOT, folder, 'package.json'), 'utf8')),
      );
      const integrity = lockfile.packages[folder]?.integrity;
      if (integrity === undefined)
        throw new Error(`package-lock.json has no integrity for ${folder}; run npm ci`);
      const licence = license ?? licenses.map(({ type }) => type).join(' OR ');
      if (licence === '')
        throw new Error(`${folder}/package.json names no licence, so it can't be passed on`);
      return { name, version, licence, licenceText: await licenceText(folder, licence), integrity };
    }),
  );
}

async function licenceText(folder: string, licence: string): Promise<string> {
  const files = await readdir(join(ROOT, folder));
  const file = files.toSorted().find((name) => /^licen[cs]e/i.test(name));
  return file === undefined
    ? `The package has no text of its licence, which is ${licence}.`
    : readFile(join(ROOT, folder, file), 'utf8');
}
