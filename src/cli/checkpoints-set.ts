import { EvictdError } from '../base/errors.ts';
import type { SetPlace } from '../checkpoint/format/names.ts';
import type { Invocation, OptionSpec, PositionalSpec } from './command.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION, textOption } from './options.ts';
import { KEY_OPTION, type StoredPlace, nothingFound } from './stored-place.ts';

/** Of commands that look at all sets unless one is named. */
export const ANY_SET_OPTION: OptionSpec = {
  name: 'set',
  value: 'NAME',
  description: 'only this set (default: all that are in the store)',
};

/** Of commands on one set. */
export const ONE_SET_OPTION: OptionSpec = {
  name: 'set',
  value: 'NAME',
  description: 'which set (default: the only one that is in the store)',
};

export const STORE_OPTIONS: readonly OptionSpec[] = [KEY_OPTION, CONFIG_OPTION, IMDS_OPTION, JSON_OPTION];

export function idArgument(name: string, description: string, required: boolean): PositionalSpec {
  return { name, description, required };
}

export function noCheckpoint(place: StoredPlace, set: string | undefined): EvictdError {
  const what = set === undefined ? 'no checkpoint' : `no checkpoint of a set ${JSON.stringify(set)}`;
  const all = set === undefined ? '' : '; without --set all sets are looked at';
  return nothingFound(what, place, `--key names another VM${all}`);
}

/** The set of --set, or all that are in the store. Rejects `nothing-found` when there is none. */
export async function setsOf(
  place: StoredPlace,
  { options, signal }: Pick<Invocation, 'options' | 'signal'>,
): Promise<readonly string[]> {
  const { listSets } = await import('../checkpoint/retention/list.ts');
  const { prefix, key, store } = place;
  const wanted = textOption(options, 'set');
  const sets = await listSets({ prefix, key }, { store }, signal);
  const found = wanted === undefined ? sets : sets.filter((set) => set === wanted);
  if (found.length === 0) throw noCheckpoint(place, wanted);
  return found;
}

/** The same for commands on one set. Rejects `usage` when there are several. */
export async function onlySetOf(
  place: StoredPlace,
  invocation: Pick<Invocation, 'options' | 'signal'>,
): Promise<SetPlace> {
  const { prefix, key } = place;
  const [set = '', ...others] = await setsOf(place, invocation);
  if (others.length === 0) return { prefix, key, set };
  const names = [set, ...others].join(', ');
  throw new EvictdError('usage', `there are ${others.length + 1} sets in the store`, {
    remedy: `say which one with --set NAME (${names})`,
  });
}
