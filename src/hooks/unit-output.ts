import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { askManager, complaintOf } from './manager.ts';
import { type OutputLimits, type OutputLine, createOutputLines } from './output.ts';

const LINES_MAX = 500;
const READ_MS = 3000;

/**
 * Emits the end of what a unit has written, from the journal; the whole of it stays there. The journal knows no
 * difference between stdout and stderr. Never rejects: what goes wrong is a line too.
 */
export async function emitOutput(
  unit: string,
  limits: OutputLimits,
  clock: Clock,
  emit: (line: OutputLine) => void,
): Promise<void> {
  const lines = createOutputLines(limits, emit);
  const bound = { clock, limitMs: READ_MS };
  // The unit's own lines, without those of the manager about it.
  const select = ['--quiet', '--no-pager', '--output=cat', '--boot', `--lines=${LINES_MAX}`];
  try {
    // What was written a moment ago may not have arrived yet.
    await askManager('journalctl', ['--sync'], bound);
    const answer = await askManager('journalctl', [...select, `_SYSTEMD_UNIT=${unit}`], bound, (chunk) =>
      lines.write('stdout', chunk),
    );
    lines.end();
    if (answer.code !== 0) throw new Error(complaintOf(answer));
  } catch (error) {
    const text = `evictd: its output could not be read (${messageOf(error)}); see journalctl -u ${unit}`;
    emit({ stream: 'stderr', text });
  }
}
