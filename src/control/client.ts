import { type IncomingMessage, request } from 'node:http';

import * as z from 'zod';

import { EvictdError, isErrno, messageOf } from '../base/errors.ts';
import { ownersSocket } from './protocol.ts';

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
  const received = await requestDaemon(socket, { ...options, method, path });
  const text = await readText(received, socket);
  const status = received.statusCode ?? 0;
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

/** What there is to say to the daemon, and how long it may be silent. */
export interface Ask {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** It isn't there (an older daemon, a path too long for it), or isn't for us. */
const NO_WAY_IN = ['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'EACCES', 'EPERM', 'EINVAL'];

/** The daemon's answer with its body unread, by the owner's socket where that is for us. Rejects as askDaemon does. */
export async function requestDaemon(socket: string, ask: Ask): Promise<IncomingMessage> {
  try {
    return await requestOn(ownersSocket(socket), ask);
  } catch (error) {
    if (!isErrno(error, ...NO_WAY_IN)) throw connectionError(error, socket);
  }
  return await requestOn(socket, ask).catch((error: unknown) => {
    throw connectionError(error, socket);
  });
}

function requestOn(socket: string, { method, path, body, timeoutMs, signal }: Ask): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: socket, method, path, signal, agent: false });
    let answer: IncomingMessage | undefined;
    outgoing.setTimeout(timeoutMs, () => {
      (answer ?? outgoing).destroy(new EvictdError('timeout', `${socket}: no answer within ${timeoutMs} ms`));
    });
    outgoing.once('response', (incoming) => resolve((answer = incoming)));
    outgoing.on('error', reject);
    outgoing.setHeader('content-type', 'application/json');
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Rejects `too-large`, or as requestDaemon does. */
export async function readText(answer: IncomingMessage, socket: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    // Without an encoding set, the stream's chunks are buffers.
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) throw new EvictdError('too-large', 'the answer is too large');
      chunks.push(chunk);
    }
  } catch (error) {
    throw connectionError(error, socket);
  }
  return Buffer.concat(chunks).toString();
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
