import type { HttpAnswer } from './http-order.ts';

export interface ReadAnswer extends HttpAnswer {
  /** Another request may go out on the same connection. */
  readonly isReusable: boolean;
}

/** Takes the bytes of one answer as they arrive; undefined: there is more to come. */
export type AnswerReader = (chunk: Buffer) => ReadAnswer | 'unreadable' | undefined;

/** An answer to a write has no body, an error's is a short text that nobody reads: its code is in a header. */
const ANSWER_BYTES_MAX = 64 * 1024;
const END_OF_HEAD = '\r\n\r\n';

/**
 * Reads the answer to a PUT. A body whose length isn't said ahead is not waited for: then the answer ends with its
 * headers, and the connection with the answer.
 * Source: RFC 9112.
 */
export function createAnswerReader(): AnswerReader {
  let text = '';
  let bodyBytes = 0;
  let head: HttpAnswer | undefined;
  return (chunk) => {
    if (head === undefined) {
      text += chunk.toString('latin1');
      for (let end = text.indexOf(END_OF_HEAD); end !== -1; end = text.indexOf(END_OF_HEAD)) {
        head = parseHead(text.slice(0, end));
        if (head === undefined) return 'unreadable';
        text = text.slice(end + END_OF_HEAD.length);
        // `100 Continue` and its like only announce the answer.
        if (head.status >= 200) break;
        head = undefined;
      }
      bodyBytes = text.length;
      if (head === undefined) return text.length > ANSWER_BYTES_MAX ? 'unreadable' : undefined;
    } else {
      bodyBytes += chunk.length;
    }
    const length = bodyLength(head);
    if (length === undefined || length > ANSWER_BYTES_MAX) return { ...head, isReusable: false };
    if (bodyBytes < length) return undefined;
    const isReusable = bodyBytes === length && head.headers.get('connection')?.toLowerCase() !== 'close';
    return { ...head, isReusable };
  };
}

function parseHead(text: string): HttpAnswer | undefined {
  const [first = '', ...lines] = text.split('\r\n');
  const status = /^HTTP\/1\.1 ([1-5]\d\d)(?: |$)/.exec(first)?.[1];
  if (status === undefined) return undefined;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon <= 0) return undefined;
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { status: Number(status), headers };
}

function bodyLength({ status, headers }: HttpAnswer): number | undefined {
  if (status === 204 || status === 304) return 0;
  const length = headers.get('content-length');
  if (length === undefined || headers.has('transfer-encoding') || !/^\d{1,15}$/.test(length))
    return undefined;
  return Number(length);
}
