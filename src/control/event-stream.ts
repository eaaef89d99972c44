import type { IncomingMessage } from 'node:http';

import { EvictdError, messageOf } from '../base/errors.ts';
import { errorOf, readText, requestDaemon } from './client.ts';

export interface StreamEvent {
  readonly event: string;
  readonly data: unknown;
}

/** Three heartbeats that didn't come: the daemon, or the whole machine, stands still. */
const SILENT_MS = 30_000;
/** No event is nearly as long. */
const PENDING_CHARACTERS_MAX = 1024 * 1024;

/**
 * The daemon's events, for as long as it tells them; never returns by itself.
 * Throws `not-running` when there is none (any more), `timeout` when it stands still, `bad-answer`, and the daemon's
 * own error when it refuses. Leaving the loop closes the connection.
 */
export async function* readEvents(
  socket: string,
  ask: { readonly method: 'GET' | 'POST'; readonly path: string; readonly body?: unknown },
  signal: AbortSignal,
): AsyncGenerator<StreamEvent> {
  const answer = await requestDaemon(socket, { ...ask, timeoutMs: SILENT_MS, signal });
  try {
    if (answer.statusCode !== 200) throw await refusal(answer, socket);
    let pending = '';
    answer.setEncoding('utf8');
    // With an encoding set, the stream's chunks are texts.
    for await (const chunk of answer as AsyncIterable<string>) {
      const blocks = (pending + chunk).split('\n\n');
      pending = blocks.pop() ?? '';
      if (pending.length > PENDING_CHARACTERS_MAX)
        throw new EvictdError('bad-answer', 'an event is too long');
      for (const block of blocks) {
        const event = parse(block);
        if (event !== undefined) yield event;
      }
    }
  } catch (error) {
    // What ends an open stream is the end of the daemon, however the system calls it.
    if (!signal.aborted && !(error instanceof EvictdError)) throw ended(socket, error);
    throw error;
  } finally {
    answer.destroy();
  }
  throw ended(socket);
}

function ended(socket: string, cause?: unknown): EvictdError {
  return new EvictdError('not-running', `${socket}: evictd has closed the connection`, {
    remedy: 'see whether it runs (systemctl status evictd)',
    cause,
  });
}

async function refusal(answer: IncomingMessage, socket: string): Promise<EvictdError> {
  const body = await readText(answer, socket);
  try {
    return errorOf(JSON.parse(body), answer.statusCode ?? 0);
  } catch (error) {
    return new EvictdError('bad-answer', `the answer is not JSON: ${messageOf(error)}`);
  }
}

/** Undefined for a heartbeat. */
function parse(block: string): StreamEvent | undefined {
  const fields = new Map(
    block.split('\n').map((line): [string, string] => {
      const colon = line.indexOf(': ');
      return colon <= 0 ? ['', line] : [line.slice(0, colon), line.slice(colon + 2)];
    }),
  );
  const data = fields.get('data');
  if (data === undefined) return undefined;
  try {
    return { event: fields.get('event') ?? 'message', data: JSON.parse(data) as unknown };
  } catch (error) {
    throw new EvictdError('bad-answer', `an event's data is not JSON: ${messageOf(error)}`);
  }
}
