/** Checkpoints the folder argv[2] and restores that into argv[3]: for a Node that lacks what a test takes from it. */
import { makeCheckpoint } from '../../support/make-checkpoint.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { restoreJob } from './rig.ts';

const [, , from = '', to = ''] = process.argv;
const blobs = createMemoryBlobs();
await makeCheckpoint(blobs, from);
await restoreJob(blobs.connect(), to, { durable: true, mark: { machine: 'm' } });
console.log(JSON.stringify(await restoreJob(blobs.connect(), to)));
