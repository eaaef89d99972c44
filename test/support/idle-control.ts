import { systemClock } from '../../src/base/clock.ts';
import { createEventHub } from '../../src/control/event-hub.ts';
import { type ControlServer, startControlServer } from '../../src/control/server.ts';

/** The control socket of a daemon that watches, and does nothing of what it is asked for. */
export function startIdleControl(socket: string): Promise<ControlServer> {
  return startControlServer(
    { socket, group: 'no-such-group' },
    {
      status: () => ({ phase: 'watching' }),
      checkpoint: async () => ({}),
      hello: () => ({ version: 1, evictdVersion: '1', phase: 'watching' }),
      register: ({ name }) => ({ name }),
      done: () => undefined,
    },
    createEventHub({ clock: systemClock }),
  );
}
