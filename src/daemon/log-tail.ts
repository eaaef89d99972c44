import type { LogSink } from '../observe/log-sink.ts';

/** The newest lines of the log, for the report that outlives the VM. */
export interface LogTail extends LogSink {
  lines(): readonly string[];
}

const LINES_MAX = 100;

export function tailing(sink: LogSink): LogTail {
  const lines: string[] = [];
  return {
    write(line, done) {
      lines.push(line.replace(/^<\d>/, '').trimEnd());
      if (lines.length > LINES_MAX) lines.shift();
      sink.write(line, done);
    },
    lines: () => [...lines],
  };
}
