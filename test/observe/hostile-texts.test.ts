import type { WriteStream } from 'node:tty';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { shownDeep } from '../../src/base/shown.ts';
import { describeDrill } from '../../src/cli/drill-text.ts';
import { reportFailure } from '../../src/cli/failure.ts';
import { outputOn } from '../../src/cli/output.ts';
import { reportText } from '../../src/cli/reports-show.ts';
import { reportTable } from '../../src/cli/reports.ts';
import { describeStatus } from '../../src/cli/status-text.ts';
import { drillResult } from '../../src/daemon/drill-result.ts';
import { hookEnvironment } from '../../src/hooks/environment.ts';
import { unitArguments } from '../../src/hooks/unit-process.ts';
import { parseDocument } from '../../src/imds/parse.ts';
import type { DrainNews } from '../../src/observe/drain-news.ts';
import { createLog } from '../../src/observe/log.ts';
import { reportPage } from '../../src/observe/report-page.ts';
import { webhookBody } from '../../src/observe/webhook.ts';
import { event } from '../core/support.ts';
import { request } from '../hooks/request.ts';
import { drainReport, hookReport, setReport } from '../support/drain-report.ts';

/** What moves a cursor, hides text, turns its order or ends a line. Line feeds and tabs are looked at for themselves. */
const UNSEEN = /[[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]--[\n\t]]/v;

const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\u001B]0;owned\u0007',
        '\u001B[8m',
        '\u009B2J',
        '\nFORGED',
        '\r\nFORGED',
        '\u2028',
        '\u202E',
        '\u{E0041}',
        '\uD800',
        '\0',
        '\\\n',
        '%n%%',
        '**[sign in](https://evil.example)**',
        '<https://evil.example|sign in>',
        '<!channel>',
        '<script>alert(1)</script>',
        '"><img src=x onerror=alert(1)>',
        '`x`',
        '$(id)',
      ),
      fc.string({ unit: 'binary', maxLength: 20 }),
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((parts) => parts.join(' '));

const report = (text: string) =>
  drainReport({
    eventId: text,
    eventType: text,
    vmName: text,
    outcome: text,
    noticedAt: text,
    timeline: [{ phase: text, atMs: 0 }],
    hooks: [hookReport({ name: text, state: text, detail: text, startedMs: 0, durationMs: 1 })],
    sets: [setReport({ name: text, state: text, detail: text })],
    acks: [{ eventId: text, ack: text }],
    log: [JSON.stringify({ level: 'info', time: '2026-01-01T00:00:00.000Z', msg: text, [text]: text })],
  });

const news = (text: string): DrainNews => ({
  id: text,
  kind: 'outcome',
  vmName: text,
  event: event({ id: text, type: text }),
  at: 0,
  windowMs: 30_000,
  outcome: text,
  failures: [text],
  sets: [{ name: text, checkpointId: text, bytes: 1 }],
});

/** What comes out where others' text was put in, as the program puts it together. */
const OUTPUTS: Readonly<Record<string, (text: string) => string>> = {
  'reports show': (text) => reportText(shownDeep(report(text))),
  reports: (text) => reportTable(shownDeep([{ key: text, kind: 'usable', report: report(text) }])),
  'status, of a drain': (text) =>
    describeStatus(
      shownDeep({
        ...STATUS,
        vmName: text,
        events: [{ id: text, type: text, status: text, leftMs: 1, ack: text }],
        store: { ready: false, error: text },
        protection: { verdict: 'blind', reasons: [{ verdict: 'blind', text, remedy: text }] },
      } as unknown as Parameters<typeof describeStatus>[0]),
    ),
  drill: (text) =>
    describeDrill(
      shownDeep(
        drillResult({
          rehearsal: {
            report: report(text),
            late: report(text),
            bytesPerSecond: 1,
            bytesSent: new Map(),
            resumed: [{ name: text, kind: 'failed', reason: 'exit', detail: text, durationMs: 1 }],
          },
          timeouts: new Map(),
          isDaemonRunning: true,
          notPart: [text],
          store: text,
          leftBehind: text,
        }),
      ),
      false,
    ),
  'the log': (text) => {
    let lines = '';
    const destination = {
      write: (line: string, done: (isWritten: boolean) => void) => {
        lines += line;
        done(true);
      },
    };
    createLog({ level: 'info', journald: true, destination }).info(text, { [text]: text, detail: [text] });
    return lines;
  },
  // White space is white space there, but for the lines of the log.
  'the page of a report': (text) => reportPage(report(text)).replace(/^[^]*<pre>/, ''),
  Slack: (text) => (webhookBody('slack', news(text)) as { text: string }).text,
  Teams: (text) => blocksOf(text).join('\n'),
  'a unit': (text) =>
    unitArguments(
      { unit: 'a.service', description: text, user: undefined },
      { file: '/bin/a', arguments: [], environment: {}, input: '' },
      { timeoutMs: 1, graceMs: 1 },
    ).find((argument) => argument.startsWith('--description=')) ?? '',
};

const STATUS = {
  phase: 'watching',
  dryRun: false,
  poll: { lastGoodAgoMs: 1, consecutiveFailures: 1, lastError: 'x' },
  hooks: [],
  peerHooks: [],
  peers: [],
  sets: [],
  upload: {},
};

function blocksOf(text: string): readonly string[] {
  const card = webhookBody('teams', news(text)) as {
    attachments: { content: { body: { text: string }[] } }[];
  };
  return card.attachments.flatMap(({ content }) => content.body.map((block) => block.text));
}

describe('a text of others', () => {
  it.each(Object.entries(OUTPUTS))('makes no line and no control of its own in: %s', (_, outputOf) => {
    const linesOf = (text: string) => outputOf(text).split('\n').length;
    const expected = linesOf('harmless');
    fc.assert(
      fc.property(hostile, (text) => {
        expect(outputOf(text)).not.toMatch(UNSEEN);
        expect(linesOf(text)).toBe(expected);
      }),
    );
  });

  it('is no Markdown in a Teams card: no link, no emphasis, no code', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        // What a backslash stands before is itself (spec.commonmark.org, "Backslash escapes").
        for (const block of blocksOf(text)) expect(block.replaceAll(/\\./g, '')).not.toMatch(/[\\`*_~[\]<>]/);
      }),
    );
  });

  it('makes no tag in the page of a report', () => {
    const tagsOf = (text: string) => reportPage(report(text)).match(/<\/?[a-z]+/g)?.length;
    const expected = tagsOf('harmless');
    fc.assert(
      fc.property(hostile, (text) => {
        expect(tagsOf(text)).toBe(expected);
      }),
    );
  });

  it('is told to systemd as one printable line, with no specifier and no line that goes on', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const description = OUTPUTS['a unit']?.(text);
        expect(description).toMatch(/^[ -~]*$/);
        expect(description).not.toMatch(/[\\%]/);
      }),
    );
  });

  it('leaves the log lines of JSON that say the same', () => {
    const line = OUTPUTS['the log']?.('\u009B31m\u202E\u{1F600}') ?? '';
    expect(line).toContain(String.raw`\u009b31m\u202e` + '\u{1F600}');
    expect(JSON.parse(line.replace(/^<\d>/, ''))).toMatchObject({ msg: '\u009B31m\u202E\u{1F600}' });
  });

  it('reaches no terminal as it is, in errors, warnings and JSON', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        let written = '';
        const stream = { fd: -1, on: () => stream, write: (more: string) => (written += more) };
        const out = outputOn(stream as unknown as WriteStream & { fd: number });
        reportFailure(new EvictdError('x', text, { remedy: text }), out);
        out.write(`${JSON.stringify({ [text]: text })}\n`);
        expect(written).not.toMatch(UNSEEN);
        const json = written.slice(written.lastIndexOf('\n', written.length - 2) + 1);
        expect(JSON.parse(json)).toEqual({ [text]: text });
      }),
    );
  });

  it('is in no document of the metadata service as an id or a type, and in no name that a hook is given', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const entry = {
          EventId: 'A',
          EventType: 'Preempt',
          EventStatus: 'Scheduled',
          Resources: ['vm', text],
        };
        const bodies = [entry, { ...entry, EventId: text }, { ...entry, EventType: text }];
        const { document } = parseDocument(Buffer.from(JSON.stringify({ Events: bodies })), undefined);
        for (const { id, type, resources, description } of document.events) {
          expect(`${id}${type}`).toMatch(/^[!-~]+$/);
          expect([...resources, description].join('')).not.toMatch(UNSEEN);
        }
        const notice = request('a', { stage: 'peer-notice', event: event({ resources: ['vm', text] }) });
        const { EVICTD_PEERS = '' } = hookEnvironment({}, undefined, notice, { spentMs: 0, wallMs: 0 });
        expect(EVICTD_PEERS).toMatch(/^vm( [\p{L}\p{M}\p{N}._()-]+)?$/u);
      }),
    );
  });
});
