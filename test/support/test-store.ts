import { systemClock } from '../../src/base/clock.ts';
import { type AzureStore, createAzureStore } from '../../src/checkpoint/store/azure/azure-store.ts';
import { listAll } from '../../src/checkpoint/store/list-all.ts';

/** A container of the emulator, as its operator sees it. */
export interface TestStore extends AzureStore, AsyncDisposable {
  /** Of all blobs below a prefix, in order. */
  names(prefix?: string): Promise<string[]>;
  /** What a small blob holds. */
  text(name: string): Promise<string>;
}

const BYTES_MAX = 2 ** 20;

export async function openTestStore(url: string, ca?: string): Promise<TestStore> {
  const store = await createAzureStore({ url, auth: { kind: 'azurite' }, ca }, { clock: systemClock });
  return {
    ...store,
    async names(prefix = '') {
      const names: string[] = [];
      for await (const { name } of listAll(store, prefix, AbortSignal.timeout(20_000))) names.push(name);
      return names;
    },
    async text(name) {
      const options = { bytesMax: BYTES_MAX };
      return Buffer.from(await store.read(name, options, AbortSignal.timeout(20_000))).toString();
    },
    [Symbol.asyncDispose]: () => store.close(),
  };
}
