import { EvictdError } from '../base/errors.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import type { CheckpointAnswer } from '../daemon/wire-control.ts';
import { type Command, EXIT, type ExitCode, type Invocation } from './command.ts';
import { exitCodeOf } from './failure.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION, textOption } from './options.ts';

/** A checkpoint may be large, but a daemon that says nothing for so long is stuck. */
const ANSWER_MS = 60 * 60_000;

export const checkpointCommand: Command = {
  name: 'checkpoint',
  summary: 'stage and commit a checkpoint now',
  description:
    'Through the running daemon; without one it does the work itself. For cron, or after each epoch.',
  manual:
    'Examples:\n' +
    '  evictd checkpoint --set job      # after an epoch\n' +
    "  evictd checkpoint --json | jq '.sets[].kind'",
  options: [
    CONFIG_OPTION,
    { name: 'set', value: 'NAME', description: 'only this set (default: all)' },
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
          `${result.set}: checkpoint ${result.id}, ${result.files} files, ${formatSize(result.bytes)}, ` +
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

async function takeCheckpoint({ options, env, signal }: Invocation): Promise<CheckpointAnswer> {
  const { askDaemon } = await import('../control/client.ts');
  const { config } = await loadConfigFor({ options, env });
  const set = textOption(options, 'set');
  try {
    const answer = await askDaemon(config.control.socket, 'POST', '/v1/checkpoint', {
      body: set === undefined ? {} : { set },
      timeoutMs: ANSWER_MS,
      signal,
    });
    // The daemon is of the same build.
    return answer as CheckpointAnswer;
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'not-running')) throw error;
  }
  const { checkpointWithoutDaemon } = await import('../daemon/checkpoint-once.ts');
  return checkpointWithoutDaemon(config, set, signal);
}
