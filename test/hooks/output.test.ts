import { join } from 'node:path';

import { expect, test } from 'vitest';

import { createOutputLines } from '../../src/hooks/output.ts';
import type { OutputLine } from '../../src/hooks/output.ts';
import { LATENESS_MS, failure, hookFolder, rig } from './harness.ts';

const MIB = 1024 ** 2;

test('lines come with their stream, cut to the limit, whatever their bytes are', async () => {
  const folder = await hookFolder('write-lines');
  const hooks = rig([{ name: 'writes', run: [join(folder, 'write-lines')] }]);
  await hooks.run('writes');
  expect(hooks.lines.filter((line) => line.stream === 'stdout')).toEqual([
    { hook: 'writes', stream: 'stdout', text: 'one' },
    { hook: 'writes', stream: 'stdout', text: 'caf\uFFFD' },
    { hook: 'writes', stream: 'stdout', text: 'y'.repeat(4096), truncated: true },
    { hook: 'writes', stream: 'stdout', text: 'no newline' },
  ]);
  expect(hooks.texts('stderr')).toEqual(['two', 'evictd: 904 B of the hook\u0027s output were dropped']);
});

test.for(['flood', 'flood-lines'])(
  '%s neither blocks, nor grows memory, nor delays the result',
  async (name) => {
    const folder = await hookFolder(name);
    const hooks = rig([{ name, run: [join(folder, name)] }]);
    const before = process.memoryUsage().rss;
    const result = failure(await hooks.run(name, { timeoutMs: 1200 }));
    expect(result.reason).toBe('timeout');
    expect(result.durationMs).toBeLessThan(1200 + LATENESS_MS);
    // It writes gigabytes in that time.
    expect(process.memoryUsage().rss - before).toBeLessThan(256 * MIB);
    expect(hooks.lines.length).toBeLessThanOrEqual(2001);
    const kept = hooks.texts().reduce((sum, text) => sum + text.length, 0);
    expect(kept).toBeLessThan(300 * 1024);
    expect(hooks.texts('stderr').at(-1)).toMatch(/^evictd: .* [KMG]iB of the hook's output were dropped$/);
  },
);

test('a line in many pieces is one line, and a character cut by the limit is left out', () => {
  const { lines, output } = collect({ lineBytesMax: 5, totalBytesMax: 100, linesMax: 10 });
  output.write('stdout', Buffer.from('a'));
  output.write('stderr', Buffer.from('x\n'));
  output.write('stdout', Buffer.from('b\nabcd\u00E9fg'));
  output.write('stdout', Buffer.from('hij\nnext\n\n'));
  output.end();
  expect(lines).toEqual([
    { stream: 'stderr', text: 'x' },
    { stream: 'stdout', text: 'ab' },
    { stream: 'stdout', text: 'abcd', truncated: true },
    { stream: 'stdout', text: 'next' },
    { stream: 'stdout', text: '' },
    { stream: 'stderr', text: "evictd: 6 B of the hook's output were dropped" },
  ]);
});

test('a private key of many lines is hidden, and nothing else of either stream', () => {
  const { lines, output } = collect({ lineBytesMax: 100, totalBytesMax: 10_000, linesMax: 100 });
  const content = Array.from({ length: 25 }, (_, n) => String.fromCharCode(65 + n).repeat(64));
  const key = ['-----BEGIN RSA PRIVATE KEY-----', ...content, 'c2hvcnQ=', '-----END RSA PRIVATE KEY-----'];
  output.write('stdout', Buffer.from(`loading\n${key.slice(0, 9).join('\n')}\n`));
  output.write('stderr', Buffer.from('a warning\n'));
  output.write('stdout', Buffer.from(`12:00 it is loaded\n${key.slice(9).join('\r\n')}\r\nNEXT\n`));
  output.end();
  const shown = lines.map(({ text }) => text).filter((text) => text !== '[redacted]');
  expect(shown).toEqual([
    'loading',
    'a warning',
    '12:00 it is loaded',
    '-----END RSA PRIVATE KEY-----',
    'NEXT',
  ]);
});

test.for([
  ['bytes', { lineBytesMax: 10, totalBytesMax: 6, linesMax: 10 }, ['aaa', 'bbb'], 4],
  ['lines', { lineBytesMax: 10, totalBytesMax: 60, linesMax: 1 }, ['aaa'], 8],
] as const)('over its limit of %s output ends for good', ([, limits, kept, dropped]) => {
  const { lines, output } = collect(limits);
  output.write('stdout', Buffer.from('aaa\nbbb\nccc\n'));
  output.write('stderr', Buffer.from('d'));
  output.end();
  expect(lines.slice(0, -1).map((line) => line.text)).toEqual(kept);
  expect(lines.at(-1)?.text).toMatch(new RegExp(`^evictd: ${dropped} B|^evictd: ${dropped + 1} B`));
});

function collect(limits: Parameters<typeof createOutputLines>[0]) {
  const lines: OutputLine[] = [];
  return { lines, output: createOutputLines(limits, (line) => void lines.push(line)) };
}
