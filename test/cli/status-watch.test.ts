import { expect, it } from 'vitest';

import { statusCommand } from '../../src/cli/status.ts';
import { type Machine, createMachine } from '../support/daemon.ts';
import { startTestImds } from '../support/mock-imds.ts';

/** `status --watch` until `isEnough` of what it has written; answers that and the exit code. */
async function watch(
  machine: Machine,
  options: { readonly json?: true; readonly isTerminal: boolean },
  isEnough: (text: string) => boolean,
) {
  const abort = new AbortController();
  let text = '';
  const err: string[] = [];
  const drawn: string[] = [];
  const write = (more: string) => {
    text += more;
    if (isEnough(text)) abort.abort();
  };
  const draw = (more: string) => {
    drawn.push(more);
    write(more);
  };
  const code = await statusCommand.run({
    options: { watch: true, config: machine.configFile, json: options.json },
    positionals: [],
    env: {},
    out: { write, draw, isTerminal: options.isTerminal },
    err: { write: (more) => void err.push(more), draw: (more) => void err.push(more), isTerminal: false },
    signal: AbortSignal.any([abort.signal, AbortSignal.timeout(20_000)]),
  });
  return { text, drawn, code, err: err.join('') };
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

it('is drawn again in its place on a terminal, and sees the daemon come back', async () => {
  await using imds = await startTestImds();
  await using machine = await createMachine();
  const first = await machine.start({ imds: imds.url });
  const drawn = Promise.withResolvers<void>();
  const away = Promise.withResolvers<void>();
  const asked = watch(machine, { isTerminal: true }, (text) => {
    drawn.resolve();
    const awayAt = text.lastIndexOf('not running');
    if (awayAt > 0) away.resolve();
    return awayAt > 0 && text.lastIndexOf('phase  ') > awayAt;
  });
  await drawn.promise;
  await first.stop();
  await away.promise;
  await using second = await machine.start({ imds: imds.url });
  const { text, code } = await asked;
  expect(code).toBe(0);
  expect(second.lines.length).toBeGreaterThan(0);
  // Each drawing begins at the top, clears what is left of each line, and what is below.
  const drawings = text.split('\u001B[H').slice(1);
  expect(drawings.length).toBeGreaterThan(2);
  for (const drawing of drawings) {
    expect(drawing.endsWith('\u001B[K\n\u001B[J')).toBe(true);
    expect(count(drawing, '\n')).toBe(count(drawing, '\u001B[K\n'));
  }
});

it('is one line of JSON each time with --json, on a terminal as well', async () => {
  await using imds = await startTestImds();
  await using machine = await createMachine();
  await using daemon = await machine.start({ imds: imds.url });
  const isEnough = (more: string) => count(more, '\n') > 1;
  const { text, drawn } = await watch(machine, { json: true, isTerminal: true }, isEnough);
  // Drawn, texts of others would reach the terminal as they are.
  expect(drawn).toEqual([]);
  const lines = text.trimEnd().split('\n');
  expect(lines.map((line) => (JSON.parse(line) as { pid: number }).pid)).toEqual([process.pid, process.pid]);
  expect(daemon.logged(({ level }) => level === 'error')).toBe(0);
});
