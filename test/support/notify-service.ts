import { systemClock } from '../../src/base/clock.ts';
import { sleep } from '../../src/base/abort.ts';
import { createLog } from '../../src/observe/log.ts';
import { isJournal } from '../../src/observe/log-sink.ts';
import { createServiceNotifier } from '../../src/observe/systemd.ts';

/** The smallest service that does with systemd all that the daemon does. Ending takes it longer than its unit allows. */
const END_MS = 4500;
const log = createLog({ level: 'debug', journald: isJournal(process.env['JOURNAL_STREAM']) });
const notifier = createServiceNotifier(
  { env: process.env },
  { onFailure: (error) => log.error('systemd was not told', { error }) },
);

process.once('SIGTERM', () => void end());

log.debug('a debug line');
log.warn('a warning', { token: 'not-to-be-seen' });
await notifier.status('starting');
await notifier.ready('at work');
log.info('ready', { watchdog: notifier.startWatchdog({ isHealthy: () => true }) });

async function end(): Promise<void> {
  await notifier.stopping();
  await notifier.extendTimeout(END_MS * 4);
  await notifier.status('ending');
  await sleep(systemClock, END_MS, new AbortController().signal);
  log.info('ended');
  notifier.stop();
}
