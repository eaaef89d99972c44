import { sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { type StreamEvent, readEvents } from './event-stream.ts';

const AGAIN_MS = 500;
/** The daemon isn't there (now), or isn't ready yet. */
const PASSING: ReadonlySet<string> = new Set(['not-running', 'starting', 'timeout']);

/**
 * The daemon's events, also when it is started again in between: the stream then begins anew with `hello`.
 * Throws `not-running` when there is none at the beginning, or when it stays away for `awayMs`; what else is wrong at
 * once.
 */
export async function* followEvents(
  socket: string,
  ask: Parameters<typeof readEvents>[1],
  options: { readonly awayMs: number; readonly onLost: (error: EvictdError) => void },
  { clock }: { readonly clock: Clock },
  signal: AbortSignal,
): AsyncGenerator<StreamEvent> {
  let lostAt: number | undefined;
  let wasThere = false;
  for (;;) {
    try {
      for await (const event of readEvents(socket, ask, signal)) {
        lostAt = undefined;
        wasThere = true;
        yield event;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof EvictdError) || !PASSING.has(error.code)) throw error;
      if (!wasThere && error.code !== 'starting') throw error;
      const now = clock.monotonicMs();
      if (lostAt === undefined) options.onLost(error);
      lostAt ??= now;
      if (now - lostAt >= options.awayMs) throw error;
    }
    await sleep(clock, AGAIN_MS, signal);
  }
}
