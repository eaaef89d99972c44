import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';

import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';

/** One client's stream of server-sent events (html.spec.whatwg.org/multipage/server-sent-events.html). */
export interface EventStream {
  /** It was opened over the owner's socket. */
  readonly isOfOwner: boolean;
  send(event: string, data: unknown): void;
  /** Called once when the client has gone or was cut off. */
  onClose(listener: () => void): void;
}

/** So many streams that no other share's can take. */
export interface Share {
  readonly isOwner: boolean;
  /** Answers the request with a stream, from the first event on. Throws `too-many` when there are as many as are allowed. */
  open(response: ServerResponse): EventStream;
}

/** All open streams. */
export interface EventHub {
  share(of: { readonly isOwner: boolean }): Share;
  broadcast(event: string, data: unknown): void;
  close(): void;
}

const STREAMS_MAX = 128;
/** What a client may leave unread, besides what the kernel holds for it (some 200 KiB). */
const UNREAD_BYTES_MAX = 64 * 1024;
/** So that a client sees within a bounded time that the daemon is gone although its socket is not. */
const HEARTBEAT_MS = 10_000;

export function createEventHub({ clock }: { readonly clock: Clock }): EventHub {
  const streams = new Set<ServerResponse>();
  // Ids are never the same in two daemons, so that nobody takes one's third event for another's.
  const run = randomUUID().slice(0, 8);
  let count = 0;
  let heartbeat: Disposable | undefined;

  function write(response: ServerResponse, text: string): void {
    if (response.destroyed || response.writableEnded) return;
    if (response.writableLength > UNREAD_BYTES_MAX) response.destroy();
    else response.write(text);
  }

  function beat(): void {
    for (const response of streams) write(response, ':\n\n');
    heartbeat = streams.size === 0 ? undefined : clock.timer(HEARTBEAT_MS, beat);
  }

  const format = (event: string, data: unknown) =>
    `id: ${run}-${++count}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

  return {
    share({ isOwner }) {
      let shared = 0;
      return {
        isOwner,
        open(response) {
          if (shared >= STREAMS_MAX) {
            throw new EvictdError('too-many', `there are already ${STREAMS_MAX} event streams`, {
              remedy: 'close those that are not needed',
            });
          }
          shared++;
          streams.add(response);
          response.once('close', () => {
            shared--;
            streams.delete(response);
          });
          // Not sent yet: what follows may still be refused.
          response.setHeader('content-type', 'text/event-stream');
          response.setHeader('cache-control', 'no-store');
          heartbeat ??= clock.timer(HEARTBEAT_MS, beat);
          return {
            isOfOwner: isOwner,
            send: (event, data) => write(response, format(event, data)),
            onClose: (listener) => void response.once('close', listener),
          };
        },
      };
    },
    broadcast(event, data) {
      const text = format(event, data);
      for (const response of streams) write(response, text);
    },
    close() {
      heartbeat?.[Symbol.dispose]();
      for (const response of streams) response.destroy();
    },
  };
}
