/** Reads the files that are named after the folder, as who it is, and prints what became of each. */
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { openRoot, senderOptions, testSender, whole } from './pack-rig.ts';

const [folder = '', ...paths] = process.argv.slice(2);
await using root = await openRoot(folder);
await using tested = testSender(createMemoryBlobs().connect(), senderOptions(root.location));
const results = await tested.feed(paths.map((path) => whole(path, 1)));
const plain = (_key: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);
process.stdout.write(JSON.stringify(results, plain));
