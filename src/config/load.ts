import { listConfD, readConfigFile } from './config-file.ts';
import { applyEnvironment } from './environment.ts';
import { configJsonSchema, type JsonSchema, keysOf, schemaAt } from './json-schema.ts';
import { ConfigInvalid, type Problem } from './problem.ts';
import { problemsOfSchema } from './problems-of-schema.ts';
import { Config } from './schema.ts';
import { readableSecrets } from './secret-files.ts';
import { effectiveValues, type EffectiveValue } from './effective.ts';
import { branch, duplicateNames, formatPath, merge, type Path, toPlain, type Tree } from './tree.ts';
import { warningsOf } from './warnings.ts';
import { type Parsed, parseYaml } from './yaml-tree.ts';

export type { EffectiveValue } from './effective.ts';

export const DEFAULT_CONFIG_FILE = '/etc/evictd/config.yaml';

export interface LoadOptions {
  /** `--config FILE`; it has to exist. Without it the default file is read, which may be missing. */
  readonly file?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What flags set, above everything else. */
  readonly overrides?: readonly Override[];
  /** Where the default file is; only tests have another. */
  readonly defaultFile?: string;
}

export interface Override {
  /** As the user wrote it, `--imds`. */
  readonly flag: string;
  readonly path: readonly string[];
  readonly value: string | number | boolean;
}

export interface LoadedConfig {
  readonly config: Config;
  /** Files that were read, in the order in which they were merged. */
  readonly files: readonly string[];
  /** Every single value as a config file would write it, and where it comes from (`default` for a default). */
  readonly values: readonly EffectiveValue[];
  /** Origin by key, `imds.pollInterval` → `FILE:LINE:COL`; only of values that are not defaults. */
  readonly origins: ReadonlyMap<string, string>;
  /** Things that are allowed but hardly meant. */
  readonly warnings: readonly string[];
}

/**
 * Reads the configuration: FILE, then the `conf.d/*.yaml` beside it in name order, `EVICTD_*` variables, flags.
 * Rejects with `ConfigInvalid` (`config-invalid`) with every problem of all of them.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const schema = configJsonSchema();
  const written = await readFiles(options);
  const environment = applyEnvironment(written.tree, schema, options.env);
  const tree = (options.overrides ?? []).reduce<Tree>(
    (below, { flag, path, value }) => merge(below, branch(path, value, flag)),
    environment.tree,
  );
  const result = Config.safeParse(toPlain(tree));
  const problems = [
    ...written.problems,
    ...environment.problems,
    // What a file that could not be read would have set is not missing.
    ...(result.success ? [] : problemsOfSchema(result.error.issues, tree, schema)).filter(
      ({ isMissing }) => isMissing !== true || written.problems.length === 0,
    ),
  ];
  if (!result.success || problems.length > 0)
    throw new ConfigInvalid(inReadingOrder(problems, written.files));
  const values = effectiveValues(result.data, tree);
  const origins = new Map(
    values.filter(({ origin }) => origin !== 'default').map(({ key, origin }) => [key, origin] as const),
  );
  const warnings = [
    ...written.ignored.map(
      (path) => `${path} is not read: only names that end in .yaml, and don't begin with a dot, are`,
    ),
    ...emptyKeys(written.unset, schema),
    ...warningsOf(result.data),
    ...readableSecrets(result.data),
  ];
  return { config: result.data, files: written.files, values, origins, warnings };
}

/** A key that is only named may have lost its value to a slip. A section may well be empty, but that of the checkpoints. */
function emptyKeys(unset: Parsed['unset'], schema: JsonSchema): readonly string[] {
  const isSection = (path: Path) => keysOf(schemaAt(schema, path) ?? {}).length > 0;
  return unset
    .filter(({ path }) => formatPath(path) === 'checkpoint' || !isSection(path))
    .map(({ path, origin }) => `${origin}: ${formatPath(path)} has no value, so it sets nothing`);
}

/** As somebody who corrects them meets them; first what is not at a place in a file. */
function inReadingOrder(problems: readonly Problem[], files: readonly string[]): readonly Problem[] {
  const place = ({ origin }: Problem) => {
    const [, file = '', line, column] = /^(.*):(\d+):(\d+)$/.exec(origin) ?? [];
    return [files.indexOf(file), Number(line), Number(column)] as const;
  };
  return problems.toSorted((one, other) => {
    const [[file, line, column], [otherFile, otherLine, otherColumn]] = [place(one), place(other)];
    return file - otherFile || line - otherLine || column - otherColumn || 0;
  });
}

interface Written {
  readonly tree: Tree;
  readonly files: readonly string[];
  readonly ignored: readonly string[];
  readonly unset: Parsed['unset'];
  readonly problems: readonly Problem[];
}

async function readFiles({ file, defaultFile = DEFAULT_CONFIG_FILE }: LoadOptions): Promise<Written> {
  const main = file ?? defaultFile;
  const below = await listConfD(main);
  const problems = [...below.problems];
  const files: string[] = [];
  const unset: Parsed['unset'][number][] = [];
  let tree: Tree = { kind: 'map', origin: main, entries: new Map() };
  for (const path of [main, ...below.files]) {
    const read = await readConfigFile(path);
    // The default file may be missing; so may one of conf.d that was removed since it was listed.
    if (read.kind === 'missing' && path !== file) continue;
    if (read.kind !== 'read') {
      const missing: Problem = {
        origin: path,
        key: undefined,
        message: 'there is no such file',
        allowed: undefined,
      };
      problems.push(read.kind === 'problem' ? read.problem : missing);
      continue;
    }
    files.push(path);
    const parsed = parseYaml(read.text, path);
    problems.push(...parsed.problems, ...duplicateNames(parsed.tree).map(describeDuplicate));
    unset.push(...parsed.unset);
    tree = merge(tree, parsed.tree);
  }
  return { tree, files, ignored: below.ignored, unset, problems };
}

function describeDuplicate({ path, name, origin }: ReturnType<typeof duplicateNames>[number]): Problem {
  const message = `${JSON.stringify(name)} is used twice in this file`;
  return { origin, key: formatPath(path), message, allowed: 'one entry for each name' };
}
