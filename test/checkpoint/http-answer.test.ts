import { expect, test } from 'vitest';

import { createAnswerReader } from '../../src/checkpoint/http-answer.ts';

/** What came of an answer that arrives in pieces of `bytes`. */
function read(text: string, bytes = text.length) {
  const reader = createAnswerReader();
  for (let at = 0; at < text.length; at += bytes) {
    const answer = reader(Buffer.from(text.slice(at, at + bytes), 'latin1'));
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
