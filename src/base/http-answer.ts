import type { Socket } from 'node:net';

import { EvictdError } from './errors.ts';

/**
 * What an answer may have beside its body: heads that only announce it, its own, the frames of its chunks, trailers.
 * undici reads on for as long as they come.
 */
export const BESIDE_BODY_BYTES_MAX = 256 * 1024;

/**
 * Ends the connection when an answer, with all that it has, is longer. Since a request is written after the answer to
 * the one before, what comes in after a write is one answer.
 */
export function limitAnswers(socket: Socket, bytesMax: number): void {
  let written = 0;
  let readBefore = 0;
  let read = 0;
  socket.on('readable', () => {
    if (socket.bytesWritten !== written) {
      written = socket.bytesWritten;
      readBefore = read;
    }
    read = socket.bytesRead;
    if (read - readBefore > bytesMax) socket.destroy(noHttp());
  });
}

export function noHttp(): EvictdError {
  return new EvictdError('bad-answer', 'the answer is no HTTP, or has no end');
}

/** A body as it comes: in one piece of memory of its own, however small the pieces are in which it comes. */
export interface AnswerBody {
  /** False: it is longer than `bytesMax`, and nothing of it is kept any more. */
  take(chunk: Buffer): boolean;
  /** Undefined: it was longer. */
  content(): Buffer<ArrayBuffer> | undefined;
}

/** `bytesExpected`: as its head says; undefined where it doesn't. */
export function createAnswerBody(bytesMax: number, bytesExpected?: number): AnswerBody {
  const isPromised = bytesExpected !== undefined && bytesExpected > 0 && bytesExpected <= bytesMax;
  let memory = Buffer.allocUnsafeSlow(isPromised ? bytesExpected : 0);
  let length = 0;
  return {
    take(chunk) {
      const before = length;
      length += chunk.length;
      if (length > bytesMax) {
        memory = Buffer.alloc(0);
        return false;
      }
      if (length > memory.length) {
        const larger = Buffer.allocUnsafeSlow(Math.max(length, Math.min(2 * memory.length, bytesMax)));
        memory.copy(larger, 0, 0, before);
        memory = larger;
      }
      chunk.copy(memory, before);
      return true;
    },
    content: () => (length > bytesMax ? undefined : memory.subarray(0, length)),
  };
}
