import { shownText } from '../base/shown.ts';
import type { LogSink } from './log-sink.ts';
import { readableLine } from './readable-line.ts';

/** Turns lines of the log into such for people; what journald goes by stays at their beginning. */
export function textSink(sink: LogSink): LogSink {
  return {
    write(line, done) {
      const priority = /^<\d>/.exec(line)?.[0] ?? '';
      const json = line.slice(priority.length).trimEnd();
      sink.write(`${priority}${shownText(readableLine(json))}\n`, done);
    },
  };
}
