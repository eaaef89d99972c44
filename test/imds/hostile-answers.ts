import { gzipSync } from 'node:zlib';
import type { Socket } from 'node:net';

import type { Trouble } from './client-contract.ts';
import { type Act, answer, raw } from './hostile-server.ts';
import { EMPTY_DOCUMENT } from './support.ts';

const MIB = 1024 ** 2;
const OK = 'HTTP/1.1 200 OK';
const CHUNKED = [OK, 'Transfer-Encoding: chunked'];
const OTHER_DOCUMENT = EMPTY_DOCUMENT.replace('1', '666');
const GOOD = answer('200 OK', [], EMPTY_DOCUMENT);

const say =
  (bytes: Buffer | string): Act =>
  (socket) =>
    void socket.write(bytes);
const sayAndClose =
  (bytes: Buffer | string): Act =>
  (socket) =>
    void socket.end(bytes);
const sayAndReset =
  (bytes: Buffer | string): Act =>
  (socket) =>
    void socket.write(bytes, () => socket.resetAndDestroy());
const half = (bytes: Buffer) => bytes.subarray(0, -EMPTY_DOCUMENT.length / 2);
const status = (line: string, ...headers: string[]) => say(answer(line, headers, 'a text for people'));

/** A byte at a time, each in a packet of its own. */
function drip(bytes: Buffer): Act {
  return (socket) => {
    let sent = 0;
    const next = () => {
      if (socket.destroyed || sent === bytes.length) return;
      socket.write(bytes.subarray(sent, ++sent), () => setImmediate(next));
    };
    next();
  };
}

/** Never ends, and never leaves the client waiting. */
function endless(head: Buffer, more: Buffer): Act {
  return (socket: Socket) => {
    socket.write(head);
    const next = () => {
      while (!socket.destroyed && socket.write(more));
    };
    socket.on('drain', next);
    next();
  };
}

function chunks(body: string, bytesEach: number, trailer = ''): Buffer {
  const parts = body.match(new RegExp(`.{1,${bytesEach}}`, 'gs')) ?? [];
  const lines = parts.map((part) => `${part.length.toString(16)};name="value"\r\n${part}\r\n`);
  return raw(CHUNKED, `${lines.join('')}0\r\n${trailer}\r\n`);
}

function padded(bytes: number): string {
  return EMPTY_DOCUMENT + ' '.repeat(bytes - EMPTY_DOCUMENT.length);
}

/** Unusual, but whole. */
const READABLE: readonly Trouble<Act>[] = [
  ['in single bytes', drip(GOOD)],
  ['in chunks with extensions', say(chunks(EMPTY_DOCUMENT, 5))],
  ['in chunks of one byte, in single bytes', drip(chunks(EMPTY_DOCUMENT, 1))],
  ['in chunks with trailers', say(chunks(EMPTY_DOCUMENT, 9, 'X-A: b\r\nDate: yesterday\r\n'))],
  ['that ends with the connection', sayAndClose(raw([OK, 'Connection: close'], EMPTY_DOCUMENT))],
  ['of HTTP/1.0', sayAndClose(raw(['HTTP/1.0 200 OK'], EMPTY_DOCUMENT))],
  ['with Connection: close', sayAndClose(answer('200 OK', ['Connection: close'], EMPTY_DOCUMENT))],
  ['and the end of a connection that was to be kept', sayAndClose(GOOD)],
  ['after early hints', say(Buffer.concat([raw(['HTTP/1.1 103 Early Hints', 'Link: </x>'], ''), GOOD]))],
  ['of exactly 1 MiB', say(answer('200 OK', [], padded(MIB)))],
  ['with a byte order mark', say(answer('200 OK', [], `\uFEFF${EMPTY_DOCUMENT}`))],
].map(([name, how]) => ({ name, how, outcomes: ['document'] }) as Trouble<Act>);

/** It is the client's to take it or not; what counts is that nothing of it is taken for the next answer. */
const DOUBTFUL: readonly Trouble<Act>[] = [
  ['after 100 Continue', say(Buffer.concat([raw(['HTTP/1.1 100 Continue'], ''), GOOD]))],
  ['with lines that end in LF', say(GOOD.toString('latin1').replaceAll('\r\n', '\n'))],
  ['with both a length and chunks', say(raw([...CHUNKED, 'Content-Length: 3'], '0\r\n\r\n'))],
  ['with something behind it', say(Buffer.concat([GOOD, Buffer.from('something')]))],
  ['with another answer behind it', say(Buffer.concat([GOOD, answer('200 OK', [], OTHER_DOCUMENT)]))],
].map(
  ([name, how]) => ({ name, how, outcomes: ['document', 'imds-unreachable', 'imds-empty'] }) as Trouble<Act>,
);

const TOO_MANY_HEADERS = Array.from({ length: 20_000 }, (_, number) => `X-${number}: y`);

/** No answer at all, or none that HTTP knows. */
const BROKEN: readonly Trouble<Act>[] = [
  ['none, but the end of the connection', sayAndClose('')],
  ['none, but a reset', (socket: Socket) => socket.resetAndDestroy()],
  ['half a head, and the end', sayAndClose('HTTP/1.1 200 OK\r\nContent-Le')],
  ['half a body, and the end', sayAndClose(half(GOOD))],
  ['half a body, and a reset', sayAndReset(half(GOOD))],
  ['half a chunk, and the end', sayAndClose(raw(CHUNKED, `ff\r\n${EMPTY_DOCUMENT}`))],
  ['chunks without a last one, and the end', sayAndClose(raw(CHUNKED, '2\r\n{}\r\n'))],
  ['a chunk of a size that is none', say(raw(CHUNKED, 'xyz\r\n{}\r\n0\r\n\r\n'))],
  ['a chunk of 16 EiB', say(raw(CHUNKED, 'fffffffffffffffff\r\n{}'))],
  ['two lengths that differ', say(raw([OK, 'Content-Length: 2', 'Content-Length: 3'], '{} '))],
  ['a negative length', say(raw([OK, 'Content-Length: -5'], '{}'))],
  ['a length in words', say(raw([OK, 'Content-Length: two'], '{}'))],
  ['a header of 1 MiB', say(raw([OK, `X-A: ${'b'.repeat(MIB)}`], '{}'))],
  ['20,000 headers', say(answer('200 OK', TOO_MANY_HEADERS, EMPTY_DOCUMENT))],
  ['headers without an end', endless(Buffer.from(`${OK}\r\n`), Buffer.from('X-A: b\r\n'.repeat(1000)))],
  ['a header name without an end', endless(Buffer.from(`${OK}\r\n`), Buffer.alloc(8000, 'x'))],
  ['a NUL in the head', say(answer('200 OK', ['X-A: b\0c'], EMPTY_DOCUMENT))],
  ['no HTTP, but a shell', say('SSH-2.0-OpenSSH_9.6\r\n')],
  ['no HTTP, but TLS', say(Buffer.from('150301000202280000', 'hex'))],
  ['a version that there is not', say(GOOD.toString('latin1').replace('1.1', '9.9'))],
  ['a status of two digits', say(raw(['HTTP/1.1 20 OK', 'Content-Length: 0'], ''))],
  ['noise', say(Buffer.alloc(4096, 0xa5))],
].map(([name, how]) => ({ name, how, outcomes: ['imds-unreachable'] }) as Trouble<Act>);

const ENDLESS_BODY = endless(raw([OK], ''), Buffer.alloc(64 * 1024, 'x'));

const UNUSABLE: readonly Trouble<Act>[] = [
  { name: 'none', how: () => undefined, outcomes: ['imds-timeout'] },
  { name: 'half a head', how: say('HTTP/1.1 200 OK\r\nContent-Le'), outcomes: ['imds-timeout'] },
  { name: 'half a body', how: say(half(GOOD)), outcomes: ['imds-timeout'] },
  { name: 'a body without length or end', how: say(raw([OK], EMPTY_DOCUMENT)), outcomes: ['imds-timeout'] },
  {
    name: 'a body that drips',
    how: drip(Buffer.concat([raw([OK], ''), Buffer.alloc(10 * MIB, ' ')])),
    outcomes: ['imds-timeout'],
  },
  { name: '1 MiB and a byte', how: say(answer('200 OK', [], padded(MIB + 1))), outcomes: ['imds-too-large'] },
  {
    name: '1 MiB and a byte in chunks',
    how: say(chunks(padded(MIB + 1), 4000)),
    outcomes: ['imds-too-large'],
  },
  { name: 'a body without an end', how: ENDLESS_BODY, outcomes: ['imds-too-large'] },
  { name: 'an empty body', how: say(answer('200 OK', [], '')), outcomes: ['imds-empty'] },
  { name: 'NULs', how: say(answer('200 OK', [], '\0'.repeat(100))), outcomes: ['imds-not-json'] },
  {
    name: 'bytes that are no UTF-8',
    how: say(answer('200 OK', [], Buffer.alloc(100, 0xff))),
    outcomes: ['imds-not-json'],
  },
  {
    name: 'gzip that nobody asked for',
    how: say(answer('200 OK', ['Content-Encoding: gzip'], gzipSync(EMPTY_DOCUMENT))),
    outcomes: ['imds-not-json'],
  },
  {
    name: 'the page of a captive portal',
    how: say(answer('200 OK', ['Content-Type: text/html'], '<html>\u001B[2J pay here</html>')),
    outcomes: ['imds-not-json'],
  },
  { name: 'a deep nest', how: say(answer('200 OK', [], '['.repeat(500_000))), outcomes: ['imds-not-json'] },
  {
    name: 'another document',
    how: say(answer('200 OK', [], '{"error":"x"}')),
    outcomes: ['imds-bad-document'],
  },
];

const STATUSES: readonly Trouble<Act>[] = [
  ['204 No Content', 'imds-refused'],
  ['400 Bad Request', 'imds-refused'],
  ['401 Unauthorized', 'imds-refused', 'WWW-Authenticate: Basic'],
  ['407 Proxy Authentication Required', 'imds-refused', 'Proxy-Authenticate: Basic'],
  ['301 Moved Permanently', 'imds-redirect', 'Location: /metadata/scheduledevents'],
  ['302 Found', 'imds-redirect', 'Location: http://127.0.0.1:9/'],
  ['307 Temporary Redirect', 'imds-redirect', 'Location: /metadata/scheduledevents'],
  ['308 Permanent Redirect', 'imds-redirect', 'Location: /metadata/scheduledevents'],
  ['404 Not Found', 'imds-not-found'],
  ['410 Gone', 'imds-updating'],
  ['429 Too Many Requests', 'imds-throttled', 'Retry-After: 3600'],
  ['500 Internal Server Error', 'imds-server-error'],
  ['503 Service Unavailable', 'imds-server-error', 'Retry-After: never'],
  ['511 Network Authentication Required', 'imds-server-error'],
].map(([name = '', outcome = '', ...headers]) => ({
  name,
  how: status(name, ...headers),
  outcomes: [outcome],
}));

export const HOSTILE_ANSWERS = [...READABLE, ...DOUBTFUL, ...BROKEN, ...UNUSABLE, ...STATUSES];
