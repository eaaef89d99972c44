/**
 * Loaded into the measured daemon before its own code (`--import`): notes when things happen that nothing outside can
 * see, on CLOCK_MONOTONIC, and appends them to BENCH_PROBE_FILE each time that the program BENCH_PROBE_HOOK was started.
 */
import { subscribe } from 'node:diagnostics_channel';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';

import { watchPolls } from './poll-watch.ts';

const file = process.env['BENCH_PROBE_FILE'] ?? '';
const hook = process.env['BENCH_PROBE_HOOK'] ?? '';
/** Since the journal was last begun; of a drain the first time counts, and there its hook is started right after it. */
let marks: [name: string, atNs: string][] = [];
let answeredAt = '';

function mark(name: string): void {
  marks.push([name, String(process.hrtime.bigint())]);
}

/** When the polls went out, until the daemon ends. */
const polls: bigint[] = [];
watchPolls({
  onSent: () => void polls.push(process.hrtime.bigint()),
  onAnswered: () => (answeredAt = String(process.hrtime.bigint())),
});
process.on('exit', () => fs.writeFileSync(`${file}.polls`, polls.join('\n')));

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
    // Whatever comes in meanwhile, this is about the answer before it.
    marks = [['answer', answeredAt]];
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
