/**
 * Loaded into the measured daemon before its own code (`--import`): appends to BENCH_PROBE_FILE when a poll goes out, in
 * ms on its monotonic clock.
 */
import { subscribe } from 'node:diagnostics_channel';
import fs from 'node:fs';

const file = process.env['BENCH_PROBE_FILE'] ?? '';

subscribe('http.client.request.start', (message) => {
  // The shape that Node documents for this channel.
  const { request } = message as { request: { method: string; path: string } };
  if (request.method !== 'GET' || !request.path.startsWith('/metadata/scheduledevents')) return;
  fs.appendFileSync(file, `${performance.now()}\n`);
});
