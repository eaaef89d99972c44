import { sleep } from '../base/abort.ts';
import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { shownDeep, shownText } from '../base/shown.ts';
import type { Status } from '../daemon/status.ts';
import { hasColors } from './colors.ts';
import { type Command, EXIT, type ExitCode, type Invocation, type Output } from './command.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, JSON_OPTION } from './options.ts';
import { describeStatus } from './status-text.ts';

const ANSWER_MS = 5000;
const AGAIN_MS = 500;
/** Cursor to the top left, clear to the end of the screen: unlike clearing first, it doesn't flicker. */
const REDRAW = { before: '\u001B[H', lineEnd: '\u001B[K\n', after: '\u001B[J' };

export const statusCommand: Command = {
  name: 'status',
  summary: "show the running daemon's view",
  description:
    'First whether a notice now would be seen and what it has to save would fit, and what to do where not; then phase, ' +
    'events with the time that is left, hooks, checkpoints, and what a notice now would have to move.\n\n' +
    'With --check the exit code tells that: 0 protected (or drained), 1 at risk, 2 unprotected, blind, or a drain that failed.',
  options: [
    { name: 'check', description: 'let the exit code tell whether this VM is protected' },
    { name: 'watch', description: 'show it again twice a second until Ctrl-C; with --json one line each' },
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, env, out, signal } = invocation;
    const { askDaemon } = await import('../control/client.ts');
    const { config } = await loadConfigFor({ options, env });
    const answer = { timeoutMs: ANSWER_MS, signal };
    const ask = async (): Promise<Status> => {
      // The daemon is of the same build, but for an older one that was not started again after an upgrade.
      const told = (await askDaemon(config.control.socket, 'GET', '/v1/status', answer)) as Omit<
        Status,
        'protection'
      > &
        Partial<Status>;
      return { ...told, protection: told.protection ?? NOT_TOLD };
    };
    const isJson = options['json'] === true;
    const show = (status: Status) =>
      isJson
        ? `${JSON.stringify(status)}\n`
        : describeStatus(shownDeep(status), { hasColors: hasColors({ out, env }), columns: out.columns });
    if (options['watch'] === true) return watch(async () => show(await ask()), invocation);
    const status = await ask();
    // Only what has colours is drawn: in JSON others' texts are as they came.
    if (isJson) out.write(show(status));
    else out.draw(show(status));
    return options['check'] === true ? CHECKED[status.protection.verdict] : EXIT.done;
  },
};

const NOT_TOLD: Status['protection'] = {
  verdict: 'at-risk',
  reasons: [
    {
      verdict: 'at-risk',
      text: 'the daemon that runs is older than this command, and does not tell',
      remedy: 'systemctl restart evictd',
    },
  ],
};

const CHECKED: Readonly<Record<Status['protection']['verdict'], ExitCode>> = {
  protected: EXIT.done,
  draining: EXIT.done,
  drained: EXIT.done,
  'at-risk': EXIT.failed,
  unprotected: EXIT.usage,
  blind: EXIT.usage,
  failed: EXIT.usage,
};

async function watch(ask: () => Promise<string>, { options, out, err, signal }: Invocation) {
  const isJson = options['json'] === true;
  const draw = screen(out, isJson);
  // A mistake is told at once; a daemon that is started again later on is waited for.
  draw(await ask());
  while (!signal.aborted) {
    try {
      await sleep(systemClock, AGAIN_MS, signal);
      draw(await ask());
    } catch (error) {
      if (signal.aborted) break;
      if (!(error instanceof EvictdError)) throw error;
      if (isJson) err.write(`evictd: ${error.message}\n`);
      else draw(`${shownText(error.message)}\n`);
    }
  }
  return EXIT.done;
}

function screen(out: Output, isJson: boolean): (text: string) => void {
  if (out.isTerminal && !isJson) {
    const { before, lineEnd, after } = REDRAW;
    return (text) => out.draw(`${before}${text.replaceAll('\n', lineEnd)}${after}`);
  }
  return (text) => (isJson ? out.write(text) : out.draw(`${text}\n`));
}
