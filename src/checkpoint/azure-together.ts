import { isSuccess } from '../base/http-order.ts';
import { bothOf } from './azure-answer.ts';
import type { BothAnswers } from './azure-answer.ts';
import type { BlobRequests, ReadyMaker } from './azure-ready.ts';
import type { HttpSender } from './http-sender.ts';
import { sendTogether } from './http-together.ts';

/** One try of each of several requests. */
export interface RequestsTogether {
  /** Resolves when each of them has ended. */
  readonly all: Promise<void>;
  /** Of the one at `index`, where they are there, and good. */
  answered(index: number): BothAnswers | undefined;
  /** The same when they are there, as by sendBoth; the request is given up at the abort of `signal`. */
  answers(index: number, signal: AbortSignal): Promise<BothAnswers>;
}

/** `threadFor` answers the sending thread for writes of so many bytes, where there is one. */
export function createTogether(
  threadFor: (bytes: number) => HttpSender | undefined,
  ready: Pick<ReadyMaker, 'together'>,
): (group: BlobRequests, signal: AbortSignal) => Promise<RequestsTogether | undefined> {
  return async (group, signal) => {
    const thread = threadFor(group.requests.reduce((sum, { body }) => sum + body.byteLength, 0));
    if (thread === undefined) return undefined;
    const sent = sendTogether(thread, await ready.together(group), signal);
    return {
      all: sent.all,
      answered(index) {
        const end = sent.ended(index);
        return end === undefined || end instanceof Error || !isSuccess(end) ? undefined : bothOf(end);
      },
      answers: async (index, own) => bothOf(await sent.answer(index, own)),
    };
  };
}
