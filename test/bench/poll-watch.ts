import { syncBuiltinESMExports } from 'node:module';
import net, { Socket } from 'node:net';
import type { OnReadOpts, TcpNetConnectOpts } from 'node:net';

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
  const asked = new WeakSet<Socket>();
  // Of the prototype: connecting a socket gives it that one again.
  const write = Reflect.get(Socket.prototype, 'write');
  Socket.prototype.write = function (this: Socket, ...args: unknown[]): boolean {
    const [head] = args;
    if (typeof head === 'string' && head.startsWith(POLL)) {
      onSent();
      asked.add(this);
    }
    // What the original answers.
    return Reflect.apply(write, this, args) as boolean;
  };
  if (onAnswered === undefined) return;
  // The daemon has what comes by `onread`, which nobody else hears of.
  const connect = Reflect.get(net, 'connect');
  const connectWatched = (options: TcpNetConnectOpts & { readonly onread?: OnReadOpts }): Socket => {
    const { onread } = options;
    if (onread === undefined) return connect(options);
    const callback: OnReadOpts['callback'] = (...read) => {
      if (asked.delete(socket)) onAnswered();
      return onread.callback(...read);
    };
    const socket = connect({ ...options, onread: { ...onread, callback } } as TcpNetConnectOpts); // Its type lacks `onread`.
    return socket;
  };
  Object.assign(net, { connect: connectWatched });
  syncBuiltinESMExports();
}
