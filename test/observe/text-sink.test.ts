import { expect, it } from 'vitest';

import { createLog } from '../../src/observe/log.ts';
import { textSink } from '../../src/observe/text-sink.ts';

function linesOf(journald: boolean, message: string, fields: Readonly<Record<string, unknown>>): string {
  let text = '';
  const sink = textSink({
    write(line, done) {
      text += line;
      done(true);
    },
  });
  createLog({ level: 'info', journald, destination: sink }).warn(message, fields);
  return text.replace(/\d\d:\d\d:\d\d\.\d{3}/, 'TIME');
}

it('is one readable line for each of the log, with its priority for the journal', () => {
  const fields = { hook: 'stop', detail: 'exit code 1', timeoutMs: 30 };
  const line = 'TIME warn  hook ended  hook=stop  detail="exit code 1"  timeoutMs=30\n';
  expect(linesOf(false, 'hook ended', fields)).toBe(line);
  expect(linesOf(true, 'hook ended', fields)).toBe(`<4>${line}`);
});

it('shows no text of others as it is', () => {
  const line = linesOf(false, 'x\u001B[2J\nFORGED', { hook: 'a\u202Eb' });
  expect(line.split('\n')).toHaveLength(2);
  expect(line.trimEnd()).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});
