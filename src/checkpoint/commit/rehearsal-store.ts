import { EvictdError } from '../../base/errors.ts';
import { keyPrefix } from '../format/names.ts';
import type { BlobItem, BlobStore } from '../store/store.ts';

interface Place {
  readonly prefix: string;
  readonly key: string;
}

/** Nothing but rehearsals is ever below this. */
export function rehearsalPrefix(place: Place): string {
  return `${keyPrefix(place)}drill/`;
}

/**
 * `store` as a commit of a rehearsal sees it. It asks the real place what is there, so that exactly what a notice would
 * have to move now is sent; what it writes goes below `rehearsalPrefix`, so that nothing real is touched. Packs go there
 * by themselves: see `packPrefix` of CheckpointerOptions.
 */
export function createRehearsalStore(place: Place, { store }: { readonly store: BlobStore }): BlobStore {
  const from = keyPrefix(place);
  const to = rehearsalPrefix(place);
  const written = new Map<string, BlobItem>();
  const refuse = (name: string, what: string) =>
    new EvictdError('refused', `a rehearsal must not ${what} ${name}`);
  const placeOf = (name: string) => (written.has(name) ? to + name.slice(from.length) : name);
  return {
    describe: store.describe,
    ensureContainer: (signal) => store.ensureContainer(signal),
    folders: (prefix, options, signal) => store.folders(prefix, options, signal),
    read: (name, options, signal) => store.read(placeOf(name), options, signal),
    async list(prefix, options, signal) {
      const page = await store.list(prefix, options, signal);
      if (page.next !== undefined) return page;
      const own = [...written.values()].filter(({ name }) => name.startsWith(prefix));
      return {
        ...page,
        items: [...page.items, ...own].sort((one, other) => (one.name < other.name ? -1 : 1)),
      };
    },
    async create(name, body, options, signal) {
      if (!name.startsWith(from)) throw refuse(name, 'write');
      if (written.has(name)) return { outcome: 'taken' };
      const created = await store.create(to + name.slice(from.length), body, options, signal);
      written.set(name, { name, bytes: body.length, modifiedAt: 0, isArchived: false });
      return created;
    },
    replace(name, body, options, signal) {
      return store.replace(to + name.slice(from.length), body, options, signal);
    },
    async remove(name) {
      throw refuse(name, 'remove');
    },
  };
}
