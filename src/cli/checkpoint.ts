import { childController, sleep } from '../base/abort.ts';
import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatCount, formatDuration, formatSize } from '../base/units.ts';
import type { SetProgress } from '../core/ports.ts';
import type { Status } from '../daemon/status.ts';
import type { CheckpointAnswer } from '../daemon/wire-control.ts';
import { type Command, EXIT, type ExitCode, type Invocation } from './command.ts';
import { exitCodeOf } from './failure.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION, textOption } from './options.ts';
import { canShowBar, createProgressBar } from './progress-bar.ts';

/** A checkpoint may be large, but a daemon that says nothing for so long is stuck. */
const ANSWER_MS = 60 * 60_000;
const STATUS_MS = 5000;
const SHOW_MS = 500;

export const checkpointCommand: Command = {
  name: 'checkpoint',
  summary: 'stage and commit a checkpoint now',
  description:
    'Through the running daemon; without one it does the work itself. For cron, or after each epoch.',
  manual:
    'Examples:\n' +
    '  evictd checkpoint --set job      # after an epoch\n' +
    "  evictd checkpoint --json | jq '.sets[].kind'\n" +
    '  evictd checkpoint --take-over    # after a conflict, once the other writer is stopped',
  options: [
    CONFIG_OPTION,
    { name: 'set', value: 'NAME', description: 'only this set (default: all)' },
    {
      name: 'take-over',
      description:
        'also after a conflict with another writer of this key: go on from what that one left; and what is in the ' +
        'folder is meant to be so, even where it is empty since the boot',
    },
    IMDS_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, out, err } = invocation;
    const answer = await takeCheckpoint(invocation);
    if (options['json'] === true) out.write(`${JSON.stringify(answer)}\n`);
    for (const result of answer.sets) {
      if (result.kind === 'failed') err.write(`evictd: ${result.set}: ${result.detail} (${result.code})\n`);
      else if (options['json'] !== true) {
        out.write(
          `${result.set}: checkpoint ${result.id}, ${formatCount(result.files, 'file')}, ${formatSize(result.bytes)}, ` +
            `sent ${formatSize(result.bytesSent)} in ${formatDuration(result.durationMs)}\n`,
        );
      }
    }
    return exitCodeFor(answer);
  },
};

/** What hinders all sets alike, such as a key that can't be made, keeps its own exit code. */
function exitCodeFor({ sets }: CheckpointAnswer): ExitCode {
  const codes = sets.map((result) => (result.kind === 'committed' ? EXIT.done : exitCodeOf(result.code)));
  return codes.every((code) => code === codes[0]) ? (codes[0] ?? EXIT.done) : EXIT.failed;
}

async function takeCheckpoint(invocation: Invocation): Promise<CheckpointAnswer> {
  const { options, err, signal } = invocation;
  const { askDaemon } = await import('../control/client.ts');
  const { config } = await loadConfigFor(invocation);
  const { socket } = config.control;
  const set = textOption(options, 'set');
  const request = { ...(set !== undefined && { set }), takeOver: options['take-over'] === true };
  let progress = async (): Promise<readonly SetProgress[]> => {
    // The daemon is of the same build.
    const status = (await askDaemon(socket, 'GET', '/v1/status', { timeoutMs: STATUS_MS, signal })) as Status;
    return status.sets;
  };
  using _bar = canShowBar(invocation) ? followProgress(set, () => progress(), invocation) : undefined;
  try {
    const answer = await askDaemon(socket, 'POST', '/v1/checkpoint', {
      body: request,
      timeoutMs: ANSWER_MS,
      signal,
    });
    // The daemon is of the same build.
    return answer as CheckpointAnswer;
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'not-running')) throw error;
  }
  const { checkpointWithoutDaemon } = await import('../daemon/checkpoint-once.ts');
  const onNote = (of: string, { message }: EvictdError) => err.write(`evictd: ${of}: ${message}\n`);
  const onBegin = (known: () => readonly SetProgress[]) => void (progress = async () => known());
  return await checkpointWithoutDaemon(config, request, { onNote, onBegin }, signal);
}

/** Asks again and again how much of the sets is in the store, and shows it until it is disposed. */
function followProgress(
  only: string | undefined,
  progress: () => Promise<readonly SetProgress[]>,
  { err, signal }: Invocation,
): Disposable {
  const over = childController(signal);
  const bar = createProgressBar(only ?? 'all sets', err, systemClock);
  const follow = async () => {
    for (;;) {
      await sleep(systemClock, SHOW_MS, over.signal);
      // A daemon that doesn't say, or of which it isn't known yet that there is none.
      const all = await progress().catch(() => []);
      const sets = all.filter(({ name }) => only === undefined || name === only);
      const total = (of: 'bytes' | 'bytesStored') => sets.reduce((sum, set) => sum + set[of], 0);
      over.signal.throwIfAborted();
      // Nothing is known before the files were looked at.
      if (total('bytes') > 0) bar.show({ bytes: total('bytesStored'), bytesTotal: total('bytes') });
    }
  };
  // Only that it is over.
  follow().catch(() => undefined);
  return {
    [Symbol.dispose]() {
      over.abort();
      over[Symbol.dispose]();
      bar[Symbol.dispose]();
    },
  };
}
