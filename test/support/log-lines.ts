/** A line of the daemon's log, as parsed JSON. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  /** Of notes of the core, and of errors. */
  readonly code?: string;
  readonly [field: string]: unknown;
}

/** What a daemon has logged so far, and what it will. */
export interface LogLines {
  readonly lines: readonly LogLine[];
  add(text: string): void;
  /** No more lines come: whoever still waits is told so, with the reason. */
  end(reason: string): void;
  /** The first line that fits, also an earlier one. Rejects after `limitMs` with the last lines. */
  waitFor(fits: (line: LogLine) => boolean, limitMs?: number): Promise<LogLine>;
}

const LIMIT_MS = 45_000;

export function collectLines(): LogLines {
  const lines: LogLine[] = [];
  const listeners = new Set<(line: LogLine | undefined) => void>();
  let ended: string | undefined;
  const lastLines = () => lines.map((line) => JSON.stringify(line)).slice(-12);
  return {
    lines,
    add(text) {
      const line = JSON.parse(text) as LogLine; // the log's own form, checked by its tests
      lines.push(line);
      for (const listener of listeners) listener(line);
    },
    end(reason) {
      ended ??= reason;
      for (const listener of listeners) listener(undefined);
    },
    waitFor(fits, limitMs = LIMIT_MS) {
      const earlier = lines.find(fits);
      if (earlier !== undefined) return Promise.resolve(earlier);
      return new Promise((resolve, reject) => {
        const finish = (settle: () => void) => {
          clearTimeout(timer);
          listeners.delete(listener);
          settle();
        };
        const fail = (why: string) =>
          finish(() => reject(new Error(`no line with ${String(fits)}: ${why}\n${lastLines().join('\n')}`)));
        const timer = setTimeout(() => fail(`not within ${limitMs} ms`), limitMs);
        const listener = (line: LogLine | undefined) => {
          if (line === undefined) fail(ended ?? 'the log has ended');
          else if (fits(line)) finish(() => resolve(line));
        };
        if (ended === undefined) listeners.add(listener);
        else fail(ended);
      });
    },
  };
}

/** A note of the core with this code and these fields. */
export function isNote(code: string, fields: Readonly<Record<string, unknown>> = {}) {
  return (line: LogLine): boolean =>
    line.code === code && Object.entries(fields).every(([name, value]) => line[name] === value);
}

export function isMessage(msg: string) {
  return (line: LogLine): boolean => line.msg === msg;
}
