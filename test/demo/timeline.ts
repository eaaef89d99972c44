import * as z from 'zod';

import { formatDuration, formatSize } from '../../src/base/units.ts';

const LogLine = z.looseObject({ time: z.string(), code: z.string().optional(), msg: z.string() });
type LogLine = z.infer<typeof LogLine>;

export interface Screen {
  write(text: string): void;
  readonly isTerminal: boolean;
}

/** Draws the drain as it happens from the daemon's own log lines. */
export interface Timeline {
  /** One line of the daemon's log. */
  take(line: string): void;
  /** A line of the demo's own, at its place in time. */
  say(label: string, text: string): void;
  /** The time left, on a terminal only, until the next line. */
  progress(text: string): void;
  end(): void;
}

const COLOURS = { good: 32, bad: 31, notice: 33, plain: 0 } as const;

export function createTimeline(screen: Screen, env: NodeJS.ProcessEnv): Timeline {
  const colourful = screen.isTerminal && env['NO_COLOR'] === undefined;
  let noticedAt: number | undefined;
  let deadlineAt = 0;

  function print(colour: keyof typeof COLOURS, at: number, label: string, text: string): void {
    const since = noticedAt === undefined ? '' : `+${((at - noticedAt) / 1000).toFixed(2)} s`;
    const left = noticedAt === undefined ? '' : `${Math.max(0, (deadlineAt - at) / 1000).toFixed(1)} s left`;
    const body = `${since.padStart(9)}  ${left.padStart(11)}  ${label.padEnd(11)} ${text}`;
    const code = COLOURS[colour];
    screen.write(
      `${screen.isTerminal ? '\r\u001B[K' : ''}${colourful && code !== 0 ? `\u001B[${code}m${body}\u001B[0m` : body}\n`,
    );
  }

  return {
    take(line) {
      const parsed = parseLine(line);
      if (parsed === undefined) return;
      const at = Date.parse(parsed.time);
      if (parsed.code === 'event-noticed') {
        noticedAt = at;
        deadlineAt = at + Number(parsed['windowMs']);
      }
      const shown = describe(parsed);
      if (shown !== undefined) print(...([shown[0], at, shown[1], shown[2]] as const));
    },
    say: (label, text) => print('plain', Date.now(), label, text),
    progress(text) {
      if (!screen.isTerminal || noticedAt === undefined) return;
      const left = Math.max(0, (deadlineAt - Date.now()) / 1000);
      const filled = Math.round((left / ((deadlineAt - noticedAt) / 1000)) * 20);
      screen.write(
        `\r\u001B[K           [${'█'.repeat(filled)}${'░'.repeat(20 - filled)}] ${left.toFixed(1)} s left  ${text}`,
      );
    },
    end() {
      if (screen.isTerminal) screen.write('\r\u001B[K');
    },
  };
}

function describe(line: LogLine): [keyof typeof COLOURS, string, string] | undefined {
  const text = (key: string) => {
    const value = line[key];
    return typeof value === 'string' ? value : JSON.stringify(value ?? '');
  };
  switch (line.code) {
    case 'event-noticed':
      return [
        'notice',
        'notice',
        `${text('type')} of this VM: ${formatDuration(Number(line['windowMs']))} window`,
      ];
    case 'hook-ended': {
      const attempt = Number(line['attempt']) > 1 ? ` (attempt ${text('attempt')})` : '';
      const good = line['result'] === 'succeeded';
      return [
        good ? 'good' : 'bad',
        'hook',
        `${text('hook')} ${text('result')}${attempt} in ${formatDuration(Number(line['durationMs']))}`,
      ];
    }
    case 'set-ended':
      return line['result'] === 'committed'
        ? [
            'good',
            'checkpoint',
            `${text('set')} committed as ${text('id')}: ${text('files')} files, ${formatSize(Number(line['bytes']))}, ${formatSize(Number(line['bytesSent']))} sent`,
          ]
        : ['bad', 'checkpoint', `${text('set')} ${text('result')}: ${text('detail')}`];
    case 'ack-ended':
      return [line['result'] === 'accepted' ? 'good' : 'bad', 'ack', text('result')];
    case 'drain-resumed':
      return ['notice', 'restart', `evictd found its journal and goes on in phase ${text('phase')}`];
    case 'drain-ended':
      return [line['outcome'] === 'success' ? 'good' : 'bad', 'done', `outcome: ${text('outcome')}`];
    default:
      return undefined;
  }
}

export function parseLine(line: string): LogLine | undefined {
  try {
    const parsed = LogLine.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
