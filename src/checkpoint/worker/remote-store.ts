import type { BlobStore } from '../store/store.ts';
import type { StoreCall } from './engine-calls.ts';

/** A store by way of something that does its calls one by one. */
export function createRemoteStore(
  describe: string,
  perform: (call: StoreCall, signal: AbortSignal) => Promise<unknown>,
): BlobStore {
  const call = <Name extends StoreCall['name']>(call: StoreCall & { name: Name }, signal: AbortSignal) =>
    // It gives what the store's own method of that name gives.
    perform(call, signal) as ReturnType<BlobStore[Name]>;
  return {
    describe,
    list: (prefix, options, signal) => call({ name: 'list', takes: [prefix, options] }, signal),
    folders: (prefix, options, signal) => call({ name: 'folders', takes: [prefix, options] }, signal),
    read: (name, options, signal) => call({ name: 'read', takes: [name, options] }, signal),
    create: (name, body, options, signal) => call({ name: 'create', takes: [name, body, options] }, signal),
    replace: (name, body, options, signal) => call({ name: 'replace', takes: [name, body, options] }, signal),
    remove: (name, signal) => call({ name: 'remove', takes: [name] }, signal),
    ensureContainer: (signal) => call({ name: 'ensureContainer', takes: [] }, signal),
  };
}

export function callStore(store: BlobStore, call: StoreCall, signal: AbortSignal): Promise<unknown> {
  switch (call.name) {
    case 'list':
      return store.list(...call.takes, signal);
    case 'folders':
      return store.folders(...call.takes, signal);
    case 'read':
      return store.read(...call.takes, signal);
    case 'create':
      return store.create(...call.takes, signal);
    case 'replace':
      return store.replace(...call.takes, signal);
    case 'remove':
      return store.remove(...call.takes, signal);
    case 'ensureContainer':
      return store.ensureContainer(...call.takes, signal);
  }
}
