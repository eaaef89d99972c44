import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { EvictdError } from '../../src/base/errors.ts';
import { createLog } from '../../src/observe/log.ts';
import type { LogOptions } from '../../src/observe/log.ts';
import { isJournal } from '../../src/observe/log-sink.ts';

function recording(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const log = createLog(
    {
      level: 'debug',
      journald: false,
      destination: {
        write(line, done) {
          lines.push(line);
          done(true);
        },
      },
      ...options,
    },
    { clock: { ...systemClock, wallMs: () => Date.UTC(2026, 0, 2, 3, 4, 5, 6) } },
  );
  return { log, lines };
}

describe('lines of the log', () => {
  test('are one JSON object each, with level, time, fields and message', () => {
    const { log, lines } = recording();
    log.info('a hook ended', { hook: 'stop-workers', durationMs: 12 });
    expect(lines).toEqual([
      '{"level":"info","time":"2026-01-02T03:04:05.006Z","hook":"stop-workers","durationMs":12,"msg":"a hook ended"}\n',
    ]);
  });

  test('below the level are left out, and their fields not even looked at', () => {
    const { log, lines } = recording({ level: 'warn' });
    let looked = false;
    log.info('x', {
      get field() {
        looked = true;
        return 1;
      },
    });
    log.warn('y');
    expect(lines).toHaveLength(1);
    expect(looked).toBe(false);
  });

  test('carry the fields of a child log, nested too', () => {
    const { log, lines } = recording();
    log.child({ drain: 'A' }).child({ hook: 'B' }).error('z', { n: 1 });
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'error',
      drain: 'A',
      hook: 'B',
      n: 1,
      msg: 'z',
    });
  });

  test('begin with the priority that journald understands', () => {
    const { log, lines } = recording({ journald: true });
    log.debug('d');
    log.info('i');
    log.warn('w');
    log.child({ a: 1 }).error('e');
    expect(lines.map((line) => line.slice(0, 4))).toEqual(['<7>{', '<6>{', '<4>{', '<3>{']);
  });

  test('hold no secret, in the message, in fields, in bindings or in errors', () => {
    const { log, lines } = recording();
    const cause = new Error('PUT https://a/b?sig=s3cret failed');
    log.child({ url: 'https://a/b?sig=s3cret' }).warn('Bearer s3cret-s3cret', {
      access_token: 's3cret',
      error: new EvictdError('store', 'AccountKey=s3cret', { cause }),
      list: ['Authorization: Basic s3cret'],
    });
    expect(lines.join('')).not.toContain('s3cret');
    expect(lines.join('')).toContain('[redacted]');
  });

  test('stay shorter than what journald takes in one piece, and on one line', () => {
    const { log, lines } = recording();
    log.info(`a\nb${'m'.repeat(100_000)}`, {
      text: '\u0002\n'.repeat(100_000),
      list: Array(10_000).fill('x'.repeat(5000)),
    });
    expect(Buffer.byteLength(lines[0] ?? '')).toBeLessThan(48 * 1024);
    expect(lines[0]?.indexOf('\n')).toBe((lines[0]?.length ?? 0) - 1);
    expect(() => JSON.parse(lines[0] ?? '') as unknown).not.toThrow();
  });

  test('have each of their own keys once, whatever the fields are called', () => {
    const { log, lines } = recording();
    log.info('m', { level: 1, time: 2, msg: 3, __proto__: { a: 1 } });
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'info',
      msg: 'm',
      level_: 1,
      time_: 2,
      msg_: 3,
    });
  });

  test('are written, and are no exception, whatever the fields are', () => {
    const { log, lines } = recording();
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    const trap = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error('no');
        },
      },
    );
    log.info('x', cycle);
    log.info('x', { trap });
    log.info('x', trap);
    log.child(trap).info('x', { big: 1n, fn: () => 1, symbol: Symbol('s') });
    expect(lines).toHaveLength(4);
  });

  test('that are lost are counted and mentioned once lines go through again', () => {
    const lines: string[] = [];
    let broken = true;
    const { log } = recording({
      destination: {
        write(line, done) {
          if (!broken) lines.push(line);
          done(!broken);
        },
      },
    });
    log.info('one');
    log.info('two');
    broken = false;
    log.info('three');
    log.info('four');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { msg: 'three' },
      { level: 'warn', msg: 'lines of the log were lost, continuing', lostSinceStart: 2 },
      { msg: 'four' },
    ]);
  });
});

describe('a process that logs to its standard output', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evictd-log-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const logModule = new URL('../../src/observe/log.ts', import.meta.url).href;
  const start = (body: string, stdout: 'pipe' | number) =>
    spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { createLog } from ${JSON.stringify(logModule)};
         const log = createLog({ level: 'info', journald: false });
         ${body}`,
      ],
      { stdio: ['ignore', stdout, 'pipe'], timeout: 15_000, killSignal: 'SIGKILL' },
    );

  test('goes on when the reader is gone', async () => {
    const child = start(
      `for (let n = 0; n < 50; n++) { log.info('line'); await new Promise((r) => setImmediate(r)); }
       process.stderr.write('alive');`,
      'pipe',
    );
    child.stdout?.destroy();
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')]);
    expect(stderr).toBe('alive');
    expect(code).toBe(0);
  });

  test('goes on when the reader does not read, and bounds what waits for it', async () => {
    const child = start(
      `for (let n = 0; n < 1000; n++) log.info('line', { text: 'x'.repeat(4000) });
       process.stderr.write(String(process.stdout.writableLength), () => process.exit(0));`,
      'pipe',
    );
    child.stdout?.pause();
    const waiting = Number(await text(child.stderr));
    child.stdout?.resume();
    expect(waiting).toBeGreaterThan(500_000);
    expect(waiting).toBeLessThan(1_100_000);
  });

  test('has its last line in the pipe when it dies right after', async () => {
    const child = start(LAST_WORDS, 'pipe');
    const [stdout] = await Promise.all([text(child.stdout), once(child, 'close')]);
    expect(stdout).toContain('the last words');
  });

  test('has its last line in the file when it dies right after', async () => {
    const file = join(folder, 'log');
    const fd = openSync(file, 'w');
    const child = start(LAST_WORDS, fd);
    closeSync(fd);
    await once(child, 'close');
    expect(readFileSync(file, 'utf8')).toContain('the last words');
  });

  test('knows whether that is the journal', () => {
    const file = join(folder, 'stream');
    const fd = openSync(file, 'w');
    const { dev, ino } = fstatSync(fd);
    expect(isJournal(`${dev}:${ino}`, fd)).toBe(true);
    expect(isJournal(`${dev}:${ino + 1}`, fd)).toBe(false);
    expect(isJournal(undefined, fd)).toBe(false);
    closeSync(fd);
    expect(isJournal('1:2', fd)).toBe(false);
  });
});

const LAST_WORDS = `log.error('the last words'); process.kill(process.pid, 'SIGKILL');`;

async function text(stream: NodeJS.ReadableStream | null): Promise<string> {
  let all = '';
  for await (const chunk of stream ?? []) all += String(chunk);
  return all;
}
