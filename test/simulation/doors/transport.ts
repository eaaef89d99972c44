/** In place of `src/imds/transport.ts`: the simulated metadata service. */
import type { Question, Transport } from '../../../src/imds/transport.ts';
import { runningProcess } from '../guest.ts';

export function createTransport(): Transport {
  const process = runningProcess();
  return {
    request: (question: Question, timeoutMs, signal) =>
      process.doors.ask(process, question, timeoutMs, signal),
    close: async () => undefined,
  };
}
