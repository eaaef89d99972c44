/**
 * Loaded into the measured daemon before its own code (`--import`): notes when things happen that nothing outside can
 * see, on CLOCK_MONOTONIC, and appends them to BENCH_PROBE_FILE each time that the program BENCH_PROBE_HOOK was started.
 */
import { subscribe } from 'node:diagnostics_channel';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';

const file = process.env['BENCH_PROBE_FILE'] ?? '';
const hook = process.env['BENCH_PROBE_HOOK'] ?? '';
/** A drain has some ten marks; what was noted before the last answer is of no interest. */
const MARKS_MAX = 1000;
let marks: [name: string, atNs: string][] = [];

function mark(name: string): void {
  if (marks.length < MARKS_MAX) marks.push([name, String(process.hrtime.bigint())]);
}

// Published by undici when an answer is read to its end, before whoever asked gets it.
subscribe('undici:request:trailers', (message) => {
  // The shape that undici documents for its diagnostics channels.
  const { request } = message as { request: { method: string; path: string } };
  if (request.method !== 'GET' || !request.path.startsWith('/metadata/scheduledevents')) return;
  marks = [];
  mark('answer');
});

subscribe('tracing:child_process.spawn:start', (message) => {
  // The shapes that Node documents for its tracing channels.
  if ((message as { options: { file: string } }).options.file === hook) mark('spawn');
});
subscribe('tracing:child_process.spawn:end', (message) => {
  if ((message as { process: { spawnfile: string } }).process.spawnfile !== hook) return;
  mark('spawned');
  const noted = marks;
  setImmediate(() => fs.appendFileSync(file, `${JSON.stringify(noted)}\n`));
});

// The journal is replaced as a whole: its writing begins with the temporary file and ends with its folder.
const { open } = fs.promises;
let folder: string | undefined;
fs.promises.open = async (target, ...rest) => {
  const name = String(target);
  if (name.endsWith('/journal.json.new')) {
    folder = path.dirname(name);
    mark('journal');
  }
  const handle = await open(target, ...rest);
  if (name === folder) {
    const close = handle.close.bind(handle);
    handle.close = async () => {
      await close();
      mark('journaled');
    };
  }
  return handle;
};
syncBuiltinESMExports();
