import { subscribe } from 'node:diagnostics_channel';

/** Hears of the daemon's polls, inside its process. */
export interface PollListener {
  /** A request goes out. */
  onSent(this: void): void;
  /** The head of its answer is there; the daemon hears of it after this. */
  onAnswered?(this: void): void;
}

const POLL = '/metadata/scheduledevents';

/**
 * For programs that are loaded before the daemon's own (`--import`).
 * Source: https://undici.nodejs.org/#/docs/api/DiagnosticsChannel
 */
export function watchPolls({ onSent, onAnswered }: PollListener): void {
  listen('undici:client:sendHeaders', onSent);
  if (onAnswered !== undefined) listen('undici:request:headers', onAnswered);
}

function listen(channel: string, heard: () => void): void {
  subscribe(channel, (message) => {
    const { method, path } = (message as { request: { method: string; path: string } }).request;
    if (method === 'GET' && path.startsWith(POLL)) heard();
  });
}
