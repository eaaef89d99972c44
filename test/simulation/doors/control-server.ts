/** In place of `src/control/server.ts`: the world asks the daemon directly. */
import type { ControlHandlers, ControlServer } from '../../../src/control/server.ts';
import { runningProcess } from '../guest.ts';

export async function startControlServer(
  _options: unknown,
  handlers: ControlHandlers,
): Promise<ControlServer> {
  const process = runningProcess();
  process.doors.control(process, handlers);
  return { close: async () => undefined };
}
