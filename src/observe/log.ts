import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';

import { systemClock } from '../base/clock.ts';
import type { Clock } from '../base/clock.ts';
import { FIELD_LIMITS, redact, redactDeep } from '../base/redact.ts';
import { shownLines } from '../base/shown.ts';
import { stdoutSink } from './log-sink.ts';
import type { LogSink } from './log-sink.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

type Fields = Readonly<Record<string, unknown>>;

/** Messages are constant texts, so that they can be searched for; what varies goes into the fields. */
export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
  /** A log whose lines all carry these fields too. Keep them few and small. */
  child(bindings: Fields): Log;
}

export interface LogOptions {
  /** Lines below it are left out. Nothing is said at `trace`; the config knows it as the lowest. */
  readonly level: LogLevel | 'trace';
  /** Begin each line with `<N>`, by which journald knows its priority (sd-daemon(3)); see `isJournal`. */
  readonly journald: boolean;
  /** Where the lines go; standard output by default. */
  readonly destination?: LogSink;
}

/**
 * A log of JSON lines: `level` as a word, `time` as RFC 3339 in UTC, the fields, `msg`.
 * Fields are bounded and without secrets before the logger sees them. No call throws; none waits for the reader of
 * the lines: what a stuck reader can't take is lost, counted, and mentioned once lines go through again.
 */
export function createLog(options: LogOptions, dependencies: { readonly clock?: Clock } = {}): Log {
  const clock = dependencies.clock ?? systemClock;
  const sink = options.destination ?? stdoutSink();
  // Cyclic by nature: the writer mentions its losses through the log that it is part of.
  const writer = lineWriter(sink, options.journald, (lost) =>
    log.warn('lines of the log were lost, continuing', { lostSinceStart: lost }),
  );
  const logger = pino(
    {
      level: options.level,
      // The journal has host and process id already, and elsewhere they would only lengthen each line.
      base: null,
      timestamp: () => `,"time":"${new Date(clock.wallMs()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    writer,
  );
  const log = wrap(logger);
  return log;
}

function wrap(logger: Logger): Log {
  const write = (level: LogLevel, message: string, fields: Fields | undefined): void => {
    if (!logger.isLevelEnabled(level)) return;
    logger[level](plain(fields, FIELD_LIMITS), redact(message.slice(0, MESSAGE_MAX)));
  };
  return {
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
    child: (bindings) => wrap(logger.child(plain(bindings, BINDING_LIMITS))),
  };
}

const MESSAGE_MAX = 1024;
const BINDING_LIMITS = { depthMax: 2, entriesMax: 10, stringMax: 256, bytesMax: 1024 };
// These are the line's own; a field of the same name would make the JSON object have the key twice.
const OWN_KEYS: ReadonlySet<string> = new Set(['level', 'time', 'msg']);

function plain(fields: Fields | undefined, limits: typeof BINDING_LIMITS): Record<string, unknown> {
  if (fields === undefined) return {};
  // An Error given in the place of the fields is a field itself.
  const copied = redactDeep(fields instanceof Error ? { error: fields } : fields, limits);
  if (typeof copied !== 'object' || copied === null) return { fields: copied };
  return Object.fromEntries(
    Object.entries(copied).map(([key, value]) => [OWN_KEYS.has(key) ? `${key}_` : key, value]),
  );
}

// By pino's level numbers: debug, info, warning, err of syslog(3).
const PRIORITIES: readonly (readonly [number, string])[] = [
  [20, '<7>'],
  [30, '<6>'],
  [40, '<4>'],
];

/** What pino writes to. It sets `lastLevel` before each line, as the marker property asks it to. */
function lineWriter(sink: LogSink, journald: boolean, mention: (lost: number) => void): DestinationStream {
  let lost = 0;
  let mentioned = 0;
  const done = (written: boolean): void => {
    if (!written) {
      lost += 1;
    } else if (lost > mentioned) {
      // Before the mention, which is a line too.
      mentioned = lost;
      mention(lost);
    }
  };
  const writer = {
    [Symbol.for('pino.metadata')]: true,
    lastLevel: 0,
    write(line: string) {
      const prefix = journald ? (PRIORITIES.find(([level]) => writer.lastLevel <= level)?.[1] ?? '<3>') : '';
      // JSON leaves some characters as they are that move a terminal's cursor or hide text.
      sink.write(prefix + shownLines(line), done);
    },
  };
  return writer;
}
