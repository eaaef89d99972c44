import { reasonOf } from '../../base/abort.ts';
import { fromWire, toWire } from './wire-error.ts';
import type { WireError } from './wire-error.ts';

/*
 * The one protocol between threads: either side calls the other one's handlers by name. What is told gets no answer.
 *
 * INVARIANTS
 * - Each call is settled exactly once: by its answer, by its signal (at once, whatever the other side does), or by `end`.
 *   One `toTheEnd` isn't settled by its signal: the other side may be using what the caller would free then.
 * - Messages arrive in the order in which they were sent, so what a handler tells before it answers is there before that.
 * - What a call takes is copied. What it gives is moved where it is memory of its own.
 */

/** What a side can be asked, as functions from one argument to what is given for it. */
export type Calls = Readonly<Record<string, (argument: never) => unknown>>;

type Takes<C extends Calls, Name extends keyof C> = Parameters<C[Name]>[0];
type Gives<C extends Calls, Name extends keyof C> = ReturnType<C[Name]>;

export type Handlers<C extends Calls> = {
  readonly [Name in keyof C]: (
    argument: Takes<C, Name>,
    signal: AbortSignal,
  ) => Promise<Gives<C, Name>> | Gives<C, Name>;
};

export interface Peer<Remote extends Calls> {
  /** Rejects with the handler's error, with the signal's reason, or with what `end` was called with. */
  call<Name extends keyof Remote & string>(
    name: Name,
    argument: Takes<Remote, Name>,
    signal?: AbortSignal,
    options?: { readonly toTheEnd: boolean },
  ): Promise<Gives<Remote, Name>>;
  tell<Name extends keyof Remote & string>(name: Name, argument: Takes<Remote, Name>): void;
  /** Calls that somebody waits for. */
  readonly waiting: number;
  /**
   * All calls reject, those to come as well. As long as the other side isn't `gone` those that are to go `toTheEnd` wait
   * for it.
   */
  end(error: Error, options: { readonly isGone: boolean }): void;
}

/** Of Worker and MessagePort. */
export interface Port {
  postMessage(message: Message, moved: ArrayBuffer[]): void;
  on(event: 'message', listener: (message: Message) => void): unknown;
}

export type Message =
  /** Without `id` it is told. */
  | { readonly kind: 'call'; readonly id?: number; readonly name: string; readonly argument: unknown }
  | { readonly kind: 'cancel'; readonly id: number; readonly reason: WireError }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly error: WireError };

interface Waiting {
  readonly toTheEnd: boolean;
  resolve(this: void, value: unknown): void;
  reject(this: void, error: Error): void;
}

/** `onWaiting` is told when the first call begins to wait, and when the last one has ended. */
export function createPeer<Local extends Calls, Remote extends Calls>(
  port: Port,
  handlers: Handlers<Local>,
  onWaiting: (isWaiting: boolean) => void = () => undefined,
): Peer<Remote> {
  const calls = new Map<number, Waiting>();
  let serial = 0;
  let ended: Error | undefined;
  const post = (message: Message, moved: ArrayBuffer[] = []) => port.postMessage(message, moved);
  const serve = createServer(handlers, post);
  port.on('message', (message) => {
    if (message.kind === 'call' || message.kind === 'cancel') serve(message);
    else if (message.kind === 'answer') calls.get(message.id)?.resolve(message.value);
    else calls.get(message.id)?.reject(fromWire(message.error));
  });

  const call = (
    name: string,
    argument: unknown,
    signal?: AbortSignal,
    { toTheEnd } = { toTheEnd: false },
  ): Promise<unknown> => {
    if (ended !== undefined) return Promise.reject(ended);
    if (signal?.aborted === true) return Promise.reject(reasonOf(signal));
    const id = ++serial;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const onAbort = () => {
      if (signal === undefined) return;
      post({ kind: 'cancel', id, reason: toWire(reasonOf(signal)) });
      if (!toTheEnd) calls.get(id)?.reject(reasonOf(signal));
    };
    const settling =
      <T>(settle: (value: T) => void) =>
      (value: T) => {
        signal?.removeEventListener('abort', onAbort);
        calls.delete(id);
        if (calls.size === 0) onWaiting(false);
        settle(value);
      };
    const waiting = { toTheEnd, resolve: settling(resolve), reject: settling(reject) };
    calls.set(id, waiting);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (calls.size === 1) onWaiting(true);
    try {
      post({ kind: 'call', id, name, argument });
    } catch (error) {
      // What can't be copied.
      waiting.reject(error);
    }
    return promise;
  };
  return {
    // Handlers give what their names say: both sides are built from one definition.
    call: call as Peer<Remote>['call'],
    tell: (name, argument) => {
      if (ended === undefined) post({ kind: 'call', name, argument });
    },
    get waiting() {
      return calls.size;
    },
    end(error, { isGone }) {
      ended ??= error;
      for (const { toTheEnd, reject } of calls.values()) if (isGone || !toTheEnd) reject(ended);
    },
  };
}

type Call = Message & { readonly kind: 'call' };

/** Takes in calls of the other side, and their ends. */
function createServer(
  handlers: Handlers<Calls>,
  post: (message: Message, moved?: ArrayBuffer[]) => void,
): (message: Message & { readonly kind: 'call' | 'cancel' }) => void {
  const served = new Map<number, AbortController>();
  const perform = async ({ name, argument }: Call, signal: AbortSignal) =>
    // The other side was built from the same definition: it names only what there is, and gives it what it takes.
    handlers[name]?.(argument as never, signal);
  const serve = async (id: number, call: Call, { signal }: AbortController): Promise<void> => {
    try {
      const value = await perform(call, signal);
      post({ kind: 'answer', id, value }, memoryOf(value));
    } catch (error) {
      post({ kind: 'error', id, error: toWire(error) });
    } finally {
      served.delete(id);
    }
  };
  return (message) => {
    if (message.kind === 'cancel') {
      served.get(message.id)?.abort(fromWire(message.reason));
      return;
    }
    const controller = new AbortController();
    if (message.id === undefined) {
      void perform(message, controller.signal);
      return;
    }
    served.set(message.id, controller);
    void serve(message.id, message, controller);
  };
}

/** Memory that nothing but this value has, as it is or as one of its parts. */
function memoryOf(value: unknown): ArrayBuffer[] {
  if (typeof value !== 'object' || value === null) return [];
  const parts: readonly unknown[] = Object.values(value);
  return [value, ...parts].flatMap((part) => {
    const isView = part instanceof Uint8Array || part instanceof BigInt64Array;
    if (!isView || !(part.buffer instanceof ArrayBuffer)) return [];
    return part.byteLength === part.buffer.byteLength ? part.buffer : [];
  });
}
