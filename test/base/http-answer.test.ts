import { expect, test } from 'vitest';

import { createAnswerReader } from '../../src/base/http-answer.ts';

/** What came of an answer that arrives in pieces of `bytes`. */
function read(text: string, bytes = text.length) {
  const reader = createAnswerReader();
  for (let at = 0; at < text.length; at += bytes) {
    const answer = reader.take(Buffer.from(text.slice(at, at + bytes), 'latin1'));
    if (answer !== undefined) return { answer, isEnd: at + bytes >= text.length };
  }
  return undefined;
}

test('an answer is the same in however many pieces it comes, and the connection can be used again', () => {
  const text = 'HTTP/1.1 201 Created\r\nETag: "0x1"\r\nX-Ms-Request-Id:  id \r\nContent-Length: 0\r\n\r\n';
  for (const bytes of [text.length, 1, 2, 7, 30]) {
    const found = read(text, bytes);
    expect(found).toMatchObject({ answer: { status: 201, isReusable: true }, isEnd: true });
    const headers = typeof found?.answer === 'object' ? found.answer.headers : undefined;
    expect(headers?.get('etag')).toBe('"0x1"');
    expect(headers?.get('x-ms-request-id')).toBe('id');
  }
});

test('an error text is waited for, so that it is never taken for the next answer', () => {
  const head = 'HTTP/1.1 409 Conflict\r\nContent-Length: 5\r\n\r\n';
  expect(read(head)).toBeUndefined();
  expect(read(`${head}12345`, 3)).toMatchObject({ answer: { status: 409, isReusable: true } });
  // More than was announced is nothing to go on from.
  expect(read(`${head}123456`)).toMatchObject({ answer: { status: 409, isReusable: false } });
});

test('a connection is not used again where the end of the answer is not known, or the server closes it', () => {
  for (const header of [
    'Transfer-Encoding: chunked',
    'Connection: Close\r\nContent-Length: 0',
    'Content-Length: 70000',
    'Content-Length: x',
    'Date: now',
  ]) {
    expect(read(`HTTP/1.1 500 x\r\n${header}\r\n\r\n`)).toMatchObject({
      answer: { status: 500, isReusable: false },
    });
  }
});

test('an announcement is passed over', () => {
  const text = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n';
  for (const bytes of [1, 10, text.length])
    expect(read(text, bytes)).toMatchObject({ answer: { status: 201, isReusable: true }, isEnd: true });
});

test('what is no HTTP/1.1, or never ends, is refused', () => {
  expect(read('SSH-2.0-OpenSSH\r\n\r\n')?.answer).toBe('unreadable');
  expect(read('HTTP/1.1 201 Created\r\nno colon\r\n\r\n')?.answer).toBe('unreadable');
  expect(read(`HTTP/1.1 201 Created\r\nA: ${'a'.repeat(70_000)}`, 1000)?.answer).toBe('unreadable');
});

/** What a reader that wants the body makes of an answer that arrives in pieces of `bytes`. */
function readBody(text: string, { bytes = text.length, bodyBytesMax = 100, isClosed = false } = {}) {
  const reader = createAnswerReader({ bodyBytesMax });
  for (let at = 0; at < text.length; at += bytes) {
    const answer = reader.take(Buffer.from(text.slice(at, at + bytes), 'latin1'));
    if (answer === 'unreadable') return answer;
    if (answer !== undefined) return { ...answer, body: answer.body?.toString('latin1') };
  }
  const answer = isClosed ? reader.end() : undefined;
  return answer && { ...answer, body: answer.body?.toString('latin1') };
}

test('a body is the same in however many pieces it comes', () => {
  const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n';
  for (const bytes of [1, 2, 3, 10, 1000]) {
    const sized = readBody('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde', { bytes });
    expect(sized).toMatchObject({ body: 'abcde', isReusable: true });
    const plain = readBody(`${chunked}3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n`, { bytes });
    expect(plain).toMatchObject({ body: 'abcde', isReusable: true });
    const withTrailer = readBody(`${chunked}00A\r\n0123456789\r\n0\r\nDate: x\r\nEtag: y\r\n\r\n`, { bytes });
    expect(withTrailer).toMatchObject({ body: '0123456789', isReusable: true });
    const closed = readBody('HTTP/1.0 200 OK\r\n\r\nto the end', { bytes, isClosed: true });
    expect(closed).toMatchObject({ body: 'to the end', isReusable: false });
  }
  expect(readBody('HTTP/1.1 204 No\r\n\r\n')).toMatchObject({ status: 204, body: '', isReusable: true });
  expect(readBody('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')).toMatchObject({
    body: '',
    isReusable: true,
  });
});

test('a body of many tiny pieces takes the memory of the body', () => {
  const text = 'x'.repeat(50_000);
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
  expect(readBody(answer, { bytes: 1, bodyBytesMax: text.length })).toMatchObject({ body: text });
  const chunks = `${'1\r\ny\r\n'.repeat(20_000)}0\r\n\r\n`;
  const chunked = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`;
  expect(readBody(chunked, { bytes: 1000, bodyBytesMax: 20_000 })).toMatchObject({
    body: 'y'.repeat(20_000),
  });
});

test('more than is wanted is not kept, and not waited for', () => {
  const long = 'x'.repeat(101);
  for (const answer of [
    'Content-Length: 101\r\n\r\n',
    `Connection: close\r\n\r\n${long}`,
    `Transfer-Encoding: chunked\r\n\r\n65\r\n${long}`,
  ]) {
    const found = readBody(`HTTP/1.1 200 OK\r\n${answer}`);
    expect(found).toMatchObject({ status: 200, body: undefined, isReusable: false });
  }
});

test('an answer that is cut off has no end', () => {
  for (const half of ['', 'Content-Length: 5\r\n\r\nhalf', 'Transfer-Encoding: chunked\r\n\r\n5\r\nhalf'])
    expect(readBody(`HTTP/1.1 200 OK\r\n${half}`, { isClosed: true })).toBeUndefined();
});

test('a body whose end is told in two ways, or in none that is known, is refused', () => {
  for (const odd of [
    'Content-Length: 5\r\nContent-Length: 6',
    'Content-Length: 5\r\nTransfer-Encoding: chunked',
    'Content-Length: -1',
    'Content-Length: 5, 5',
    'Transfer-Encoding: gzip',
    'Transfer-Encoding: gzip, chunked',
    'Bad Name: x',
    ' Folded: x',
  ])
    expect(readBody(`HTTP/1.1 200 OK\r\n${odd}\r\n\r\nx`)).toBe('unreadable');
  for (const odd of [
    'x\r\n',
    '-1\r\n',
    '\r\n',
    '1\r\nab\r\n',
    '1\nab',
    '1ffffffff\r\n',
    `0\r\n${'a'.repeat(20_000)}`,
  ])
    expect(readBody(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${odd}`)).toBe('unreadable');
});

test('what comes after an answer is no part of it, and nothing to go on from', () => {
  for (const answer of [
    'Content-Length: 1\r\n\r\nab',
    'Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nb',
  ])
    expect(readBody(`HTTP/1.1 200 OK\r\n${answer}`)).toMatchObject({ body: 'a', isReusable: false });
});
