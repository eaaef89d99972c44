import { connect as connectPlain, isIP } from 'node:net';
import type { LookupFunction, OnReadOpts, Socket } from 'node:net';
import { connect as connectTls, createSecureContext } from 'node:tls';
import type { SecureContext } from 'node:tls';

import { systemClock } from './clock.ts';
import { createAnswerReader } from './http-answer.ts';
import type { AnswerReader, ReadAnswer } from './http-answer.ts';
import type { HttpOrigin, HttpOutcome, HttpRequest } from './http-order.ts';

/** One connection, one request at a time. */
export interface Connection {
  /**
   * Writes `request`; its outcome comes exactly once, also when the connection ends first. `onHead`: headers are there.
   * `onOutcome` may write the next one at once, before others get the connection.
   */
  exchange(request: HttpRequest, onOutcome: (outcome: HttpOutcome) => void, onHead?: () => void): void;
  /** Ends it at once. */
  end(): void;
}

export interface ConnectionListener {
  /** The answer is there, and the next request may come. */
  onFree(connection: Connection): void;
  onEnd(connection: Connection): void;
}

/** Opens connections; the TLS session of one is gone on with by the next, without another exchange of certificates. */
export type Connector = (listener: ConnectionListener) => Connection;

/**
 * A body is encrypted and handed over piece by piece. Each piece is in memory a second time, encrypted, until the kernel
 * has taken it; so little stays in the processor's cache.
 */
const PIECE_BYTES = 512 * 1024;
/** What goes out together with the headers is copied once more, into a packet with them: enough for one TLS record. */
const FIRST_PIECE_BYTES = 15 * 1024;
/** A request of no more than this goes out whole: a second piece would cost more than that it is copied. */
const WHOLE_BYTES_MAX = 66 * 1024;

/** Of a TLS record, all that it can hold. */
const RECEIVED_BYTES = 16 * 1024;

/** A connection on which nothing moves is asked whether it still lives. */
const PROBE_MS = 30_000;

export function createConnector(origin: HttpOrigin, lookup?: LookupFunction): Connector {
  const { host, port, tls } = origin;
  const options = { host, port, ...(lookup && { lookup }) };
  // What comes is taken in at once, so that all connections can have it in the same place.
  const received = Buffer.allocUnsafeSlow(RECEIVED_BYTES);
  const connector =
    (open: Opener): Connector =>
    (listener) =>
      createConnection(open, received, origin, listener);
  if (tls === undefined) return connector((onread) => connectPlain({ ...options, onread }));
  const { ca, ciphers } = tls;
  // Made for the first connection: it reads some hundred certificates, which the start needn't wait for.
  let secureContext: SecureContext | undefined;
  let session: Buffer | undefined;
  return connector((onread) => {
    secureContext ??= createSecureContext({
      ...(ciphers !== undefined && { ciphers }),
      ...(ca !== undefined && { ca }),
    });
    const secure = {
      ...options,
      onread,
      secureContext,
      ...(isIP(host) === 0 && { servername: host }),
      ...(session !== undefined && { session }),
    };
    const socket = connectTls(secure);
    socket.on('session', (fresh) => (session = fresh));
    return socket;
  });
}

type Opener = (onread: OnReadOpts) => Socket;

/** What comes is in `received`. */
function createConnection(
  open: Opener,
  received: Buffer,
  origin: HttpOrigin,
  listener: ConnectionListener,
): Connection {
  let current: { readonly reader: AnswerReader; readonly settle: (outcome: HttpOutcome) => void } | undefined;
  let isEnded = false;
  const settle = (outcome: HttpOutcome) => {
    const settled = current?.settle;
    current = undefined;
    settled?.(outcome);
  };
  const end = (outcome: HttpOutcome) => {
    if (isEnded) return;
    isEnded = true;
    connecting[Symbol.dispose]();
    socket.destroy();
    settle(outcome);
    listener.onEnd(connection);
  };
  const connection: Connection = {
    exchange({ head, body, answerBytesMax, isHead }, onOutcome, onHead) {
      if (isEnded) return onOutcome(failed('ECONNRESET', 'the connection was closed'));
      const reader = createAnswerReader({ bodyBytesMax: answerBytesMax, isToHead: isHead, onHead });
      current = { reader, settle: onOutcome };
      socket.ref();
      writer.write(head, body);
      return undefined;
    },
    end: () => end(failed('ECONNABORTED', 'the connection was ended')),
  };
  const take = (bytes: Buffer) => {
    // Nothing was asked for.
    if (current === undefined) return connection.end();
    const answer = current.reader.take(bytes);
    if (answer === undefined) return undefined;
    if (answer === 'unreadable') return end({ kind: 'unreadable' });
    // An answer that came before all was sent is good, the rest of the body isn't wanted.
    if (!answer.isReusable || !writer.isDone) return end(outcomeOf(answer));
    // One that is only kept doesn't keep the process.
    socket.unref();
    settle(outcomeOf(answer));
    return current === undefined ? listener.onFree(connection) : undefined;
  };
  const socket = open({
    buffer: received,
    callback(bytes) {
      take(received.subarray(0, bytes));
      return true;
    },
  });
  const writer = createRequestWriter(socket);
  const connecting = limitConnecting(socket, origin, end);
  prepare(socket, origin, () => {
    // A request under way has a time limit of its own.
    if (current === undefined) connection.end();
  });
  socket.on('error', ({ code, message }: NodeJS.ErrnoException) => end(failed(code ?? 'unknown', message)));
  // Also when the server has closed it while nothing was under way.
  socket.on('close', () => {
    const answer = current?.reader.end();
    end(answer === undefined ? failed('ECONNRESET', 'the connection was closed') : outcomeOf(answer));
  });
  // Only a stream that flows tells that the other side has ended.
  socket.resume();
  return connection;
}

interface RequestWriter {
  write(head: string, body: Uint8Array | undefined): void;
  /** Nothing of it is left to be written. */
  readonly isDone: boolean;
}

/** Writes one request at a time. */
function createRequestWriter(socket: Socket): RequestWriter {
  let unwritten = 0;
  /** Memory of its own each time would be had from the system and cleared. It is free again with the answer. */
  let whole: Buffer | undefined;
  const writePieces = (body: Uint8Array) => {
    if (socket.destroyed || unwritten === 0) return;
    const start = body.byteLength - unwritten;
    const piece = body.subarray(start, start + (start === 0 ? FIRST_PIECE_BYTES : PIECE_BYTES));
    unwritten -= piece.byteLength;
    socket.write(piece, (error) => {
      if (error === null || error === undefined) writePieces(body);
    });
  };
  const writeWhole = (head: string, body: Uint8Array) => {
    whole ??= Buffer.allocUnsafeSlow(WHOLE_BYTES_MAX);
    whole.write(head, 'latin1');
    // From shared memory `set` would take ten times as long.
    Buffer.from(body.buffer, body.byteOffset, body.byteLength).copy(whole, head.length);
    socket.write(whole.subarray(0, head.length + body.byteLength));
  };
  return {
    write(head, body) {
      if (body === undefined) return void socket.write(head, 'latin1');
      if (head.length + body.byteLength <= WHOLE_BYTES_MAX) return writeWhole(head, body);
      unwritten = body.byteLength;
      socket.cork();
      socket.write(head, 'latin1');
      writePieces(body);
      return socket.uncork();
    },
    get isDone() {
      return unwritten === 0 && socket.writableLength === 0;
    },
  };
}

function limitConnecting(
  socket: Socket,
  { tls, connectMs }: HttpOrigin,
  end: (outcome: HttpOutcome) => void,
): Disposable {
  const timer = systemClock.timer(connectMs, () =>
    end(failed('ETIMEDOUT', `not connected within ${connectMs} ms`)),
  );
  socket.once(tls === undefined ? 'connect' : 'secureConnect', () => timer[Symbol.dispose]());
  return timer;
}

/** `onIdle`: nothing has moved for `idleMs`. */
function prepare(socket: Socket, { idleMs }: HttpOrigin, onIdle: () => void): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, PROBE_MS);
  socket.setTimeout(idleMs, onIdle);
}

function outcomeOf({ status, headers, body }: ReadAnswer): HttpOutcome {
  return { kind: 'answer', status, headers, body };
}

function failed(errno: string, message: string): HttpOutcome {
  return { kind: 'failed', errno, message };
}
