import { buildInfo } from '../base/version.ts';
import { type JsonSchema, schemaAt } from './json-schema.ts';
import type { Config } from './schema.ts';
import { formatPath, type Path, type Tree } from './tree.ts';

/** One sentence for each key that is set but that this version does nothing with, with where it stands. */
export function notYetDone(config: Config, tree: Tree, schema: JsonSchema): readonly string[] {
  return marked(tree, [], schema).map(({ path, origin }) => {
    const hook = path[0] === 'hooks' ? config.hooks[Number(path[1])] : undefined;
    const effect = hook === undefined ? '' : `, so the hook ${JSON.stringify(hook.name)} will fail`;
    const consequence = hook?.required === true ? ' and keep events from being acknowledged' : '';
    return `${origin}: ${formatPath(path)}: evictd ${buildInfo().version} does not do this yet${effect}${consequence}`;
  });
}

function marked(
  node: Tree,
  path: Path,
  schema: JsonSchema,
): { readonly path: Path; readonly origin: string }[] {
  switch (node.kind) {
    case 'leaf':
      return [];
    case 'list':
      return node.items.flatMap((item, index) => marked(item, [...path, index], schema));
    case 'map':
      return [...node.entries].flatMap(([key, { keyOrigin, value }]) => {
        const inner = [...path, key];
        if (schemaAt(schema, inner)?.['x-not-yet'] !== true) return marked(value, inner, schema);
        const isEmpty = value.kind === 'list' && value.items.length === 0;
        return isEmpty ? [] : [{ path: inner, origin: keyOrigin }];
      });
  }
}
