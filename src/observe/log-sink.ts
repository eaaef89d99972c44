import { fstatSync } from 'node:fs';

/** Takes whole lines, never throws. */
export interface LogSink {
  /** `done` is called once, now or later: false when the line is lost. */
  write(line: string, done: (written: boolean) => void): void;
}

// Enough for a burst while a reader is briefly busy, and nothing that matters to a VM's memory.
const BACKLOG_BYTES_MAX = 1024 * 1024;

/**
 * Standard output as Node does it: files and terminals are written to at once; pipes and sockets (journald) are
 * non-blocking, tried at once and otherwise queued. So a line is normally with the kernel when `write` is back,
 * also if the process dies right after, and a reader that doesn't read can't stop the daemon.
 * The queue is bounded; lines beyond it, and all lines once the reader is gone (EPIPE), are lost.
 */
export function stdoutSink(stdout: NodeJS.WriteStream = process.stdout): LogSink {
  // Without a listener an error of the stream would end the process. Each is reported to its line's `done`.
  stdout.on('error', () => undefined);
  return {
    write(line, done) {
      if (stdout.writableLength > BACKLOG_BYTES_MAX) done(false);
      else stdout.write(line, (error) => done(error === null || error === undefined));
    },
  };
}

/**
 * Is this file the stream that systemd connected to the journal?
 * `JOURNAL_STREAM` holds its `device:inode`; a redirected standard output has others (systemd.exec(5)).
 */
export function isJournal(journalStream: string | undefined, fd = 1): boolean {
  if (journalStream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return journalStream === `${dev}:${ino}`;
  } catch {
    // A closed descriptor is no journal.
    return false;
  }
}
