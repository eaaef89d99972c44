import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { expect, it, onTestFinished } from 'vitest';

import { createMachine } from '../support/daemon.ts';
import { isMessage, isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';

const EXAMPLES = fileURLToPath(new URL('../../packaging/examples/', import.meta.url));

/** Starts an example; `lines` is what it has said on stdout. */
function startExample(
  name: string,
  socket: string,
): { readonly lines: readonly string[]; readonly stop: () => void } {
  // A group of its own, since bash waits for the end of what it has started.
  const child = spawn(`${EXAMPLES}${name}`, [socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  const stop = () => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      process.kill(-child.pid, 'SIGKILL');
    }
  };
  onTestFinished(stop);
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return { lines, stop };
}

it.for([
  ['drain_hook.py', 'registered/python-trainer'],
  ['drain-hook.sh', 'registered/bash-trainer'],
] as const)('%s takes part in the drain', async ([example, hook]) => {
  await using imds = await startTestImds();
  await using machine = await createMachine();
  await using daemon = await machine.start({ imds: imds.url });
  const { lines, stop } = startExample(example, machine.socket);
  await daemon.waitForLog((line) => isMessage('hook registered')(line) && line['hook'] === hook);
  const { id } = imds.addEvent({ notBefore: '30s' });
  await daemon.waitForLog(isNote('hook-ended', { hook, result: 'succeeded' }));
  await daemon.waitForLog(isNote('ack-ended', { result: 'accepted' }));
  expect(lines.join('\n')).toMatch(new RegExp(`^registered.*${hook}[^]*\nsaving.*${id}`));
  stop();
  await daemon.waitForLog((line) => isMessage('registered hook is gone')(line) && line['hook'] === hook);
});
