import { boundedSignal } from '../base/abort.ts';
import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { Notice } from '../control/protocol.ts';
import { type Command, EXIT, type Invocation } from './command.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, JSON_OPTION, durationOption } from './options.ts';

/** As long as a restart of the daemon takes, with all that systemd may wait for. */
const AWAY_MS = 60_000;
/** Longer than any VM runs; so that there is a bound also where none was asked for. */
const FOREVER_MS = 2 ** 31 - 1;

export const waitCommand: Command = {
  name: 'wait',
  summary: 'wait until this VM is to be evicted, and print the event as JSON',
  description:
    'Ends at once when the notice has already come. The event is one line as Azure writes it (EventId, EventType, ' +
    'NotBefore and so on), with Deadline (RFC 3339) and SecondsLeft, by which everything has to be done.\n\n' +
    'Exit code 3 when no notice came in time, 69 when the daemon is not running; while it is only started again, ' +
    'this goes on waiting for up to a minute.',
  manual:
    'Examples:\n' +
    '  evictd wait && /usr/local/bin/stop-workers\n' +
    "  evictd wait --timeout 1h | jq -r '.EventType, .SecondsLeft'",
  options: [
    { name: 'timeout', value: 'D', description: 'how long to wait, such as 30s or 5m (default: for ever)' },
    CONFIG_OPTION,
    { ...JSON_OPTION, description: 'no difference: the event is always printed as JSON' },
  ],
  async run(invocation) {
    const { options, out, err } = invocation;
    const limitMs = durationOption(options, 'timeout') ?? FOREVER_MS;
    using bound = boundedSignal(systemClock, limitMs, invocation.signal);
    try {
      const { event, deadline, secondsLeft } = await nextNotice(invocation, bound.signal);
      out.write(`${JSON.stringify({ ...event, Deadline: deadline, SecondsLeft: secondsLeft })}\n`);
      return EXIT.done;
    } catch (error) {
      if (!bound.signal.aborted || invocation.signal.aborted) throw error;
      err.write(`evictd: no notice within ${formatDuration(limitMs)}\n`);
      return EXIT.nothing;
    }
  },
};

async function nextNotice({ options, env, err }: Invocation, signal: AbortSignal): Promise<Notice> {
  const { followEvents } = await import('../control/follow-events.ts');
  const { Hello, Notice: NoticeData } = await import('../control/protocol.ts');
  const { config } = await loadConfigFor({ options, env });
  const onLost = ({ message }: EvictdError) => err.write(`evictd: ${message}; waiting for it to come back\n`);
  const events = followEvents(
    config.control.socket,
    { method: 'GET', path: '/v1/events' },
    { awayMs: AWAY_MS, onLost },
    { clock: systemClock },
    signal,
  );
  for await (const { event, data } of events) {
    if (event === 'notice') return NoticeData.parse(data);
    if (event !== 'hello') continue;
    const { notice } = Hello.parse(data);
    if (notice !== undefined) return notice;
  }
  throw new EvictdError('not-running', 'the events have ended');
}
