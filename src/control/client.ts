import { request } from 'node:http';

import * as z from 'zod';

import { EvictdError, isErrno, messageOf } from '../base/errors.ts';

const ErrorAnswer = z.object({
  error: z.object({ code: z.string(), message: z.string(), remedy: z.string().optional() }),
});

const ANSWER_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Asks the running daemon. Rejects `not-running` when there is none, with the daemon's own error when it has one.
 */
export async function askDaemon(
  socket: string,
  method: 'GET' | 'POST',
  path: string,
  options: { readonly body?: unknown; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<unknown> {
  const { status, text } = await exchange(socket, method, path, options);
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new EvictdError('bad-answer', `${socket}: the answer is not JSON: ${text.slice(0, 100)}`);
  }
  if (status === 200) return answer;
  throw errorOf(answer, status);
}

/** The daemon's own error, from its answer. */
export function errorOf(answer: unknown, status: number): EvictdError {
  const parsed = ErrorAnswer.safeParse(answer);
  if (!parsed.success) return new EvictdError('bad-answer', `the daemon answered ${status}`);
  const { code, message, remedy } = parsed.data.error;
  return new EvictdError(code, message, remedy === undefined ? {} : { remedy });
}

function exchange(
  socket: string,
  method: string,
  path: string,
  options: { readonly body?: unknown; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => reject(connectionError(error, socket));
    const outgoing = request(
      { socketPath: socket, method, path, signal: options.signal, agent: false },
      (incoming) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        incoming.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > ANSWER_BYTES_MAX)
            outgoing.destroy(new EvictdError('too-large', 'the answer is too large'));
          chunks.push(chunk);
        });
        incoming.on('end', () =>
          resolve({ status: incoming.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
        incoming.on('error', fail);
      },
    );
    outgoing.setTimeout(options.timeoutMs, () => {
      outgoing.destroy(new EvictdError('timeout', `${socket}: no answer within ${options.timeoutMs} ms`));
    });
    outgoing.on('error', fail);
    outgoing.setHeader('content-type', 'application/json');
    outgoing.end(options.body === undefined ? undefined : JSON.stringify(options.body));
  });
}

/** What went wrong on the way to the daemon and back. */
export function connectionError(error: unknown, socket: string): EvictdError {
  if (error instanceof EvictdError) return error;
  if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ECONNREFUSED')) {
    return new EvictdError('not-running', `evictd is not running: nothing answers on ${socket}`, {
      remedy: 'start it (systemctl start evictd), or name its config with --config',
      cause: error,
    });
  }
  if (isErrno(error, 'EACCES', 'EPERM')) {
    return new EvictdError('not-allowed', `${socket}: not allowed to connect`, {
      remedy: 'run as root or as a member of the group evictd',
      cause: error,
    });
  }
  return new EvictdError('bad-answer', `${socket}: ${messageOf(error)}`, { cause: error });
}
