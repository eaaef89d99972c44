import { createMemoryService } from '../support/memory-store.ts';
import { describeBlobStore } from './store-contract.ts';

describeBlobStore('the store in memory', async () => ({ store: createMemoryService().connect() }));
