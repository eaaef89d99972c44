import { Socket } from 'node:net';

/** Hears of the daemon's polls, inside its process. */
export interface PollListener {
  /** A request goes out. */
  onSent(this: void): void;
  /** The first bytes of its answer are there; the daemon reads them after this. */
  onAnswered?(this: void): void;
}

const POLL = 'GET /metadata/scheduledevents';

/** For programs that are loaded before the daemon's own (`--import`). */
export function watchPolls({ onSent, onAnswered }: PollListener): void {
  // Of the prototype: connecting a socket gives it that one again.
  const write = Reflect.get(Socket.prototype, 'write');
  Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
    const [head] = args;
    if (typeof head === 'string' && head.startsWith(POLL)) {
      onSent();
      if (onAnswered !== undefined) this.prependOnceListener('data', onAnswered);
    }
    // What the original answers.
    return Reflect.apply(write, this, args) as boolean;
  };
}
