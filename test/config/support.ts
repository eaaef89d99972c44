import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { onTestFinished } from 'vitest';

import { loadConfig, type LoadedConfig, type LoadOptions } from '../../src/config/load.ts';
import { ConfigInvalid, formatProblem } from '../../src/config/problem.ts';

export interface ConfigFolder {
  readonly path: string;
  /** Writes a file below the folder with safe modes; answers its full path. */
  write(name: string, text: string): Promise<string>;
}

/** A folder of its own for each test, away from the machine's configuration. */
export async function configFolder(): Promise<ConfigFolder> {
  const path = await mkdtemp(join(tmpdir(), 'evictd-config-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return {
    path,
    async write(name, text) {
      const file = join(path, name);
      await mkdir(dirname(file), { recursive: true });
      await chmod(dirname(file), 0o755);
      await writeFile(file, text);
      await chmod(file, 0o644);
      return file;
    },
  };
}

/** Loads one file with this text. */
export async function loadText(text: string, options: Partial<LoadOptions> = {}): Promise<LoadedConfig> {
  const folder = await configFolder();
  return loadConfig({ env: {}, file: await folder.write('config.yaml', text), ...options });
}

/** The problems of one file with this text, without the folder's name. */
export async function problemsOfText(
  text: string,
  options: Partial<LoadOptions> = {},
): Promise<readonly string[]> {
  const folder = await configFolder();
  const file = await folder.write('config.yaml', text);
  const problems = await problemsOf(() => loadConfig({ env: {}, file, ...options }));
  return problems.map((line) => line.replaceAll(`${folder.path}/`, ''));
}

export async function problemsOf(load: () => Promise<unknown>): Promise<readonly string[]> {
  try {
    await load();
  } catch (error) {
    if (error instanceof ConfigInvalid) return error.problems.map(formatProblem);
    throw error;
  }
  return [];
}
