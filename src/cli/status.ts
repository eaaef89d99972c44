import { sleep } from '../base/abort.ts';
import { systemClock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { shownDeep, shownText } from '../base/shown.ts';
import type { Status } from '../daemon/status.ts';
import { type Command, EXIT, type Invocation, type Output } from './command.ts';
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
    'Phase, events with the time that is left, hooks, checkpoints, and what a notice now would have to move.',
  options: [
    { name: 'watch', description: 'show it again twice a second until Ctrl-C; with --json one line each' },
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, env, out, signal } = invocation;
    const { askDaemon } = await import('../control/client.ts');
    const { config } = await loadConfigFor({ options, env });
    const answer = { timeoutMs: ANSWER_MS, signal };
    const ask = () => askDaemon(config.control.socket, 'GET', '/v1/status', answer);
    if (options['watch'] === true) return watch(ask, invocation);
    out.write(show(await ask(), options['json'] === true));
    return EXIT.done;
  },
};

function show(answer: unknown, isJson: boolean): string {
  // The daemon is of the same build; an older one only lacks lines here.
  return isJson ? `${JSON.stringify(answer)}\n` : describeStatus(shownDeep(answer as Status));
}

async function watch(ask: () => Promise<unknown>, { options, out, err, signal }: Invocation) {
  const isJson = options['json'] === true;
  const draw = screen(out, isJson);
  // A mistake is told at once; a daemon that is started again later on is waited for.
  draw(show(await ask(), isJson));
  while (!signal.aborted) {
    try {
      await sleep(systemClock, AGAIN_MS, signal);
      draw(show(await ask(), isJson));
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
  return (text) => out.write(isJson ? text : `${text}\n`);
}
