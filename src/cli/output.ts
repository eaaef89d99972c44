import { isatty } from 'node:tty';

import { isErrno } from '../base/errors.ts';
import { shownLines } from '../base/shown.ts';
import { EXIT, type Output } from './command.ts';

/** A daemon goes on whatever becomes of its output; a command has failed whose answer could not be written. */
export function outputOn(stream: NodeJS.WriteStream & { readonly fd: number }): Output {
  // Without a listener an error would end the process.
  stream.on('error', () => undefined);
  const onWritten = (error: Error | null | undefined) => {
    // The reader has left (`evictd config reference | head`).
    if (error === null || error === undefined || isErrno(error, 'EPIPE')) return;
    process.once('exit', () => (process.exitCode ||= EXIT.failed));
    if (stream !== process.stderr)
      process.stderr.write(`evictd: the output can't be written: ${error.message}\n`);
  };
  return {
    write: (text) => void stream.write(shownLines(text), onWritten),
    draw: (text) => void stream.write(text, onWritten),
    isTerminal: isatty(stream.fd),
    // A terminal may get another size at any time.
    get columns() {
      return stream.columns;
    },
  };
}
