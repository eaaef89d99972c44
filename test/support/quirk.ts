import type { IncomingHttpHeaders } from 'node:http';

export interface QuirkRequest {
  readonly method: string;
  /** Of the blob; empty for the container itself. */
  readonly name: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: number;
}

export interface QuirkAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** What an account does in its own way. */
export interface Quirk {
  /** Answers without asking the target. */
  before?(request: QuirkRequest): QuirkAnswer | undefined;
  /** Changes the answer; `lost`: the connection is cut instead. */
  after?(request: QuirkRequest, answer: QuirkAnswer): QuirkAnswer | 'lost';
}

export function isWrite({ method, name, query }: QuirkRequest): boolean {
  return method === 'PUT' && name !== '' && !query.has('comp');
}

export function isListing({ query }: QuirkRequest): boolean {
  return query.get('comp') === 'list';
}

export function refusal(
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): QuirkAnswer {
  const text = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>The service says ${code}.</Message></Error>`;
  return {
    status,
    headers: {
      'x-ms-error-code': code,
      'x-ms-request-id': 'b18e5b80-b01e-0069-402a-3d28cc000000',
      'content-type': 'application/xml',
      date: new Date().toUTCString(),
      ...headers,
    },
    body: Buffer.from(text),
  };
}
