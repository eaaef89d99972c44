import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface EngineSetup {
  /** Of the container. */
  readonly url: string;
  readonly signatureFile: string;
  readonly caFile: string;
  readonly key: string;
  /** The checkpoint set's. */
  readonly folder: string;
  /** Where the file index is kept; in memory only without. */
  readonly indexDirectory?: string;
}

export type EngineCommand =
  | { readonly kind: 'stage' | 'commit' | 'warm' }
  | { readonly kind: 'restore'; readonly target: string };

/** What one command took. */
export interface EngineAnswer {
  readonly error?: string;
  readonly ms: number;
  readonly cpuMs: number;
  /** Of the process, since its start. */
  readonly rssPeakBytes: number;
  readonly bytesSent: number;
  readonly bytesRead: number;
  /** How late the timer beside it came, each time. */
  readonly lateMs: readonly number[];
}

export interface Engine extends AsyncDisposable {
  run(command: EngineCommand): Promise<EngineAnswer>;
}

const ENGINE = fileURLToPath(new URL('engine.ts', import.meta.url));

/** Starts an engine and waits until it can take commands; they are given one after the other. */
export async function startEngine(setup: EngineSetup): Promise<Engine> {
  const child = fork(ENGINE, [JSON.stringify(setup)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const answer = async (): Promise<unknown> => {
    const ended = new AbortController();
    const onExit = (code: number | null) => ended.abort(new Error(`the engine ended with ${code}`));
    child.once('exit', onExit);
    try {
      // An argument list, about which the types say nothing.
      const messages = (await once(child, 'message', { signal: ended.signal })) as unknown[];
      return messages[0];
    } finally {
      child.off('exit', onExit);
    }
  };
  await answer();
  return {
    async run(command) {
      child.send(command);
      // The engine is of this same folder.
      const result = (await answer()) as EngineAnswer;
      if (result.error !== undefined) throw new Error(`the engine: ${result.error}`);
      return result;
    },
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit');
      child.disconnect();
      await exited;
    },
  };
}
