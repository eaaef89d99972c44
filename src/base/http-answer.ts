import type { HttpAnswer } from './http-order.ts';

/** An answer that has ended. */
export interface ReadAnswer extends HttpAnswer {
  /** Another request may go out on the same connection. */
  readonly isReusable: boolean;
}

/** Takes in one answer. */
export interface AnswerReader {
  /** The bytes as they arrive, whose memory may be used again then; undefined: there is more to come. */
  take(chunk: Buffer): ReadAnswer | 'unreadable' | undefined;
  /** The server has closed the connection; undefined: in the middle of the answer. */
  end(): ReadAnswer | undefined;
}

export interface AnswerReaderOptions {
  /** The answer to a HEAD: it has no body, whatever its headers say. */
  readonly isToHead?: boolean | undefined;
  /** No more of the body is kept. Absent: nobody reads it. */
  readonly bodyBytesMax?: number | undefined;
  readonly onHead?: (() => void) | undefined;
}

/** As Node has it. */
const HEAD_BYTES_MAX = 16 * 1024;
/** Of a body that nobody reads, so much is waited for to go on with the connection. */
const UNREAD_BYTES_MAX = 64 * 1024;
const START = 'HTTP/1.';
const END_OF_HEAD = '\r\n\r\n';

/**
 * Reads the answer to a request. Without a wish for the body, one whose length isn't said ahead is not waited for: then
 * the answer ends with its headers, and the connection with the answer.
 * Source: RFC 9112.
 */
export function createAnswerReader(options: AnswerReaderOptions = {}): AnswerReader {
  let head: HttpHead | undefined;
  let body: BodyReader | undefined;
  let before: Buffer | undefined;

  const readHead = (chunk: Buffer): Buffer | 'unreadable' | undefined => {
    let bytes = before === undefined ? chunk : Buffer.concat([before, chunk]);
    for (let end = bytes.indexOf(END_OF_HEAD); end !== -1; end = bytes.indexOf(END_OF_HEAD)) {
      const found = parseHead(bytes.toString('latin1', 0, end));
      if (found === undefined) return 'unreadable';
      bytes = bytes.subarray(end + END_OF_HEAD.length);
      // `100 Continue` and its like only announce the answer.
      if (found.status < 200) continue;
      head = found;
      options.onHead?.();
      return bytes;
    }
    before = Buffer.from(bytes);
    const isHttp = START.startsWith(bytes.toString('latin1', 0, START.length));
    const isLong = bytes.length > HEAD_BYTES_MAX;
    return isLong || !isHttp || bytes.includes('\n\n') ? 'unreadable' : undefined;
  };
  const answer = ({ status, headers, mayGoOn }: HttpHead, { kept, rest }: BodyEnd): ReadAnswer => ({
    status,
    headers,
    body: kept,
    isReusable: mayGoOn && rest === 0,
  });
  return {
    take(chunk) {
      const bytes = head === undefined ? readHead(chunk) : chunk;
      if (head === undefined || !Buffer.isBuffer(bytes)) return bytes === 'unreadable' ? bytes : undefined;
      body ??= bodyReaderOf(head, options);
      const ended = body?.take(bytes);
      if (body === undefined || ended === 'unreadable') return 'unreadable';
      return ended && answer(head, ended);
    },
    end() {
      const ended = body?.end();
      return head && ended && answer(head, ended);
    },
  };
}

interface HttpHead {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** Nothing in it keeps the connection from carrying another request. */
  readonly mayGoOn: boolean;
}

/** All of a head, whose parts needn't be looked at one by one then. Control characters have no place in it. */
const HEAD =
  /^HTTP\/1\.[01] [1-5]\d\d(?: [\t\u0020-\u007e\u0080-\u00ff]*)?(?:\r\n[\w!#$%&'*+.^`|~-]+:[\t\u0020-\u007e\u0080-\u00ff]*)*$/;

/** Status line and headers, without the empty line; undefined: that is no HTTP/1. */
export function parseHead(text: string): HttpHead | undefined {
  if (!HEAD.test(text)) return undefined;
  const headers = new Map<string, string>();
  for (let end = text.indexOf('\r\n'); end !== -1;) {
    const start = end + 2;
    end = text.indexOf('\r\n', start);
    const colon = text.indexOf(':', start);
    const key = text.slice(start, colon).toLowerCase();
    const value = text.slice(colon + 1, end === -1 ? undefined : end).replace(/^[ \t]+|[ \t]+$/g, '');
    // Two lengths would be two answers.
    if (key === 'content-length' && (headers.get(key) ?? value) !== value) return undefined;
    headers.set(key, value);
  }
  const mayGoOn = text.startsWith('1', 7) && headers.get('connection')?.toLowerCase() !== 'close';
  return { status: Number(text.slice(9, 12)), headers, mayGoOn };
}

interface BodyEnd {
  /** Undefined: it wasn't wanted, or is longer than wanted. */
  readonly kept: Buffer | undefined;
  /** How many bytes have come after it. More than none, also where the end wasn't waited for: a connection to give up. */
  readonly rest: number;
}

interface BodyReader {
  take(bytes: Buffer): BodyEnd | 'unreadable' | undefined;
  end(): BodyEnd | undefined;
}

const CUT: BodyEnd = { kept: undefined, rest: Infinity };
const NO_END = () => undefined;

/** Undefined: the head contradicts itself. */
function bodyReaderOf(
  { status, headers }: HttpHead,
  { bodyBytesMax: bytesMax, isToHead = false }: AnswerReaderOptions,
): BodyReader | undefined {
  if (isToHead || status === 204 || status === 304) return ofLength(0, bytesMax);
  const length = headers.get('content-length');
  const coding = headers.get('transfer-encoding')?.toLowerCase();
  if (length !== undefined && coding === undefined) {
    const bytes = /^\d{1,15}$/.test(length) ? Number(length) : undefined;
    if (bytes !== undefined)
      return bytes > (bytesMax ?? UNREAD_BYTES_MAX) ? cutOff() : ofLength(bytes, bytesMax);
  }
  if (bytesMax === undefined) return cutOff();
  if (length === undefined && coding === undefined) return untilTheEnd(bytesMax);
  return length === undefined && coding === 'chunked' ? inChunks(bytesMax) : undefined;
}

function cutOff(): BodyReader {
  return { take: () => CUT, end: NO_END };
}

function ofLength(length: number, bytesMax: number | undefined): BodyReader {
  const body = createCollector();
  let left = length;
  return {
    take(bytes) {
      if (bytesMax !== undefined) body.add(bytes.subarray(0, left));
      left -= bytes.length;
      if (left > 0) return undefined;
      return { kept: bytesMax === undefined ? undefined : body.all(), rest: -left };
    },
    end: NO_END,
  };
}

function untilTheEnd(bytesMax: number): BodyReader {
  const body = createCollector();
  let left = bytesMax;
  return {
    take(bytes) {
      body.add(bytes);
      left -= bytes.length;
      return left < 0 ? CUT : undefined;
    },
    end: () => ({ kept: body.all(), rest: 0 }),
  };
}

/** Source: RFC 9112, 7.1. */
function inChunks(bytesMax: number): BodyReader {
  const body = createCollector();
  let left = bytesMax;
  let state: 'size' | 'data' | 'end of data' | 'trailer' = 'size';
  let line = '';
  let inChunk = 0;

  /** Takes a line in, and answers where it ends; undefined: it is not all there. */
  const lineIn = (bytes: Buffer, from: number): number | undefined => {
    const end = bytes.indexOf('\n', from);
    line += bytes.toString('latin1', from, end === -1 ? undefined : end + 1);
    return end === -1 ? undefined : end + 1;
  };
  const onLine = (): 'unreadable' | 'over' | undefined => {
    const text = line;
    line = '';
    if (!text.endsWith('\r\n')) return 'unreadable';
    if (state === 'trailer') return text === '\r\n' ? 'over' : undefined;
    if (state === 'end of data') {
      state = 'size';
      return text === '\r\n' ? undefined : 'unreadable';
    }
    const size = /^([\da-f]{1,8})[ \t]*(?:;.*)?\r\n$/i.exec(text)?.[1];
    if (size === undefined) return 'unreadable';
    inChunk = Number.parseInt(size, 16);
    state = inChunk === 0 ? 'trailer' : 'data';
    return undefined;
  };
  const dataIn = (bytes: Buffer, from: number): number => {
    const piece = bytes.subarray(from, from + inChunk);
    body.add(piece);
    left -= piece.length;
    inChunk -= piece.length;
    if (inChunk === 0) state = 'end of data';
    return from + piece.length;
  };
  return {
    take(bytes) {
      for (let at = 0; at < bytes.length;) {
        if (state === 'data') {
          at = dataIn(bytes, at);
          if (left < 0) return CUT;
          continue;
        }
        const end = lineIn(bytes, at);
        if (line.length > HEAD_BYTES_MAX) return 'unreadable';
        if (end === undefined) return undefined;
        at = end;
        const found = onLine();
        if (found === 'unreadable') return found;
        if (found === 'over') return { kept: body.all(), rest: bytes.length - at };
      }
      return undefined;
    },
    end: NO_END,
  };
}

interface Collector {
  add(piece: Buffer): void;
  all(): Buffer;
}

/** In one piece of memory however small the pieces are: as objects, a million of one byte would take a hundred times. */
function createCollector(): Collector {
  let memory: Buffer | undefined;
  let used = 0;
  return {
    add(piece) {
      if (memory === undefined) memory = Buffer.from(piece);
      else {
        if (used + piece.length > memory.length) {
          const larger = Buffer.allocUnsafe(2 * (used + piece.length));
          memory.copy(larger, 0, 0, used);
          memory = larger;
        }
        piece.copy(memory, used);
      }
      used += piece.length;
    },
    all: () => memory?.subarray(0, used) ?? Buffer.alloc(0),
  };
}
