/**
 * Loaded into the measured daemon before its own code (`--import`): appends to BENCH_PROBE_FILE when a poll goes out, in
 * ms on its monotonic clock.
 */
import fs from 'node:fs';

import { watchPolls } from './poll-watch.ts';

const file = process.env['BENCH_PROBE_FILE'] ?? '';

watchPolls({ onSent: () => fs.appendFileSync(file, `${performance.now()}\n`) });
