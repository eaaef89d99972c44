import { EvictdError } from '../base/errors.ts';
import { redact } from '../base/redact.ts';
import { defineStart } from './defined-start.ts';
import { type Command, EXIT, type ExitCode, type Invocation } from './command.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, IMDS_OPTION } from './options.ts';

export const runCommand: Command = {
  name: 'run',
  summary: 'run the daemon in the foreground',
  description:
    'Polls for events of this VM, and at a notice runs the hooks, uploads the checkpoints and acknowledges.\n' +
    'With --dry-run it polls and decides for real, but only logs what it would do, on lines with "dryRun": true. ' +
    'It opens no control socket, so `evictd status` does not see it.',
  manual:
    'Examples:\n' +
    '  evictd run --dry-run\n' +
    '  evictd run --config ./config.yaml --imds http://127.0.0.1:1338    # against evictd mock-imds',
  options: [
    CONFIG_OPTION,
    {
      name: 'dry-run',
      description: 'only log what would be done: no hook, no upload, no ack, no state kept',
    },
    IMDS_OPTION,
  ],
  async run(invocation) {
    try {
      return await run(invocation);
    } catch (error) {
      await tellService(invocation.env, error);
      throw error;
    }
  },
};

async function run({ options, env, out, signal }: Invocation): Promise<ExitCode> {
  const { config, files, warnings } = await loadConfigFor({ options, env });
  const { createLog } = await import('../observe/log.ts');
  const { isJournal, stdoutSink } = await import('../observe/log-sink.ts');
  const { tailing } = await import('../daemon/log-tail.ts');
  const { runDaemon } = await import('../daemon/daemon.ts');
  const { systemClock } = await import('../base/clock.ts');
  const { level, format } = config.log;
  const isText = format === 'text' || (format === 'auto' && out.isTerminal);
  // Reports keep the lines as they are for programs.
  const tail = tailing(
    isText ? (await import('../observe/text-sink.ts')).textSink(stdoutSink()) : stdoutSink(),
  );
  const journald = isJournal(env['JOURNAL_STREAM']);
  const dryRun = options['dry-run'] === true;
  const plainLog = createLog({ level, journald, destination: tail }, { clock: systemClock });
  const log = dryRun ? plainLog.child({ dryRun }) : plainLog;
  defineStart(log);
  log.info('configuration read', { files });
  for (const warning of warnings) log.warn('configuration', { detail: warning });
  await runDaemon({ config, dryRun, env }, { clock: systemClock, log, logLines: () => tail.lines() }, signal);
  return EXIT.done;
}

/** Why it could not start, where `systemctl status` shows it. */
async function tellService(env: Invocation['env'], error: unknown): Promise<void> {
  if (env['NOTIFY_SOCKET'] === undefined || !(error instanceof EvictdError)) return;
  const { createServiceNotifier } = await import('../observe/systemd.ts');
  const { message, remedy } = error;
  // What can't be told to systemd is still told on standard error.
  const notifier = createServiceNotifier({ env }, { onFailure: () => undefined });
  await notifier.status(redact(remedy === undefined ? message : `${message} (${remedy})`));
}
