import { createKeyHider } from '../base/private-key.ts';
import { formatSize } from '../base/units.ts';

/** One line that a hook wrote, or (on stderr, beginning with `evictd:`) one about it. */
export interface HookOutputLine {
  readonly hook: string;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
  /** The line was longer than what is kept of a line. */
  readonly truncated?: true;
}

export type OutputLine = Omit<HookOutputLine, 'hook'>;

export interface OutputLimits {
  /** Of one line; the rest of it is dropped. */
  readonly lineBytesMax: number;
  /** Of one hook, both streams together. */
  readonly totalBytesMax: number;
  /** Of one hook: a log line costs far more than an empty line's one byte. */
  readonly linesMax: number;
}

export const DEFAULT_OUTPUT_LIMITS: OutputLimits = {
  lineBytesMax: 4096,
  totalBytesMax: 256 * 1024,
  linesMax: 2000,
};

export interface OutputLines {
  write(stream: 'stdout' | 'stderr', chunk: Buffer): void;
  /** Much more came than is kept: nothing is lost by reading slowly. */
  isFlooded(): boolean;
  /** Emits the last lines without a newline, and how much was dropped. */
  end(): void;
}

const NEWLINE = 10;

/** Cuts output into lines; holds at most one line of each stream in memory, whatever comes. */
export function createOutputLines(limits: OutputLimits, emit: (line: OutputLine) => void): OutputLines {
  const total = { lines: 0, bytes: 0, dropped: 0 };
  const streams = { stdout: newStream(limits), stderr: newStream(limits) };

  function emitLine(name: 'stdout' | 'stderr', truncated: boolean): void {
    const stream = streams[name];
    const { length } = stream;
    stream.length = 0;
    if (total.lines >= limits.linesMax || total.bytes + length > limits.totalBytesMax) {
      // Closed for good: a shorter line that would still fit would tell a story with holes.
      total.lines = limits.linesMax;
      total.dropped += length;
      return;
    }
    total.lines += 1;
    total.bytes += length;
    // With `stream: true` a character that was cut in half at the limit is left out instead of replaced.
    const text = new TextDecoder().decode(stream.line.subarray(0, length), { stream: truncated });
    emit({
      stream: name,
      text: stream.hideKey(text.replace(/\r$/, '')),
      ...(truncated ? { truncated } : {}),
    });
  }

  function append(name: 'stdout' | 'stderr', part: Buffer): void {
    const stream = streams[name];
    const kept = stream.skipping ? 0 : Math.min(part.length, limits.lineBytesMax - stream.length);
    part.copy(stream.line, stream.length, 0, kept);
    stream.length += kept;
    if (kept === part.length) return;
    total.dropped += part.length - kept;
    // At once and not at the newline, which may never come.
    if (!stream.skipping) emitLine(name, true);
    stream.skipping = true;
  }

  return {
    write(name, chunk) {
      for (let at = 0; at < chunk.length;) {
        if (total.lines >= limits.linesMax) {
          total.dropped += chunk.length - at;
          return;
        }
        const newline = chunk.indexOf(NEWLINE, at);
        append(name, chunk.subarray(at, newline === -1 ? chunk.length : newline));
        if (newline === -1) return;
        if (!streams[name].skipping) emitLine(name, false);
        streams[name].skipping = false;
        at = newline + 1;
      }
    },
    isFlooded: () => total.dropped > limits.totalBytesMax,
    end() {
      for (const name of ['stdout', 'stderr'] as const) {
        if (streams[name].length > 0) emitLine(name, false);
      }
      if (total.dropped > 0) {
        emit({
          stream: 'stderr',
          text: `evictd: ${formatSize(total.dropped)} of the hook's output were dropped`,
        });
      }
    },
  };
}

interface StreamState {
  readonly line: Buffer;
  length: number;
  /** Until the newline: the line's beginning has been emitted. */
  skipping: boolean;
  /** A key has many lines, of which each goes to the log by itself. */
  readonly hideKey: (line: string) => string;
}

function newStream(limits: OutputLimits): StreamState {
  return { line: Buffer.alloc(limits.lineBytesMax), length: 0, skipping: false, hideKey: createKeyHider() };
}
