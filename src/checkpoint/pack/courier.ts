import { abandonOn } from '../../base/abort.ts';
import type { Clock } from '../../base/clock.ts';
import { EvictdError, messageOf } from '../../base/errors.ts';
import { createOnce } from '../store/create-once.ts';
import type { BlobStore } from '../store/store.ts';
import type { SealedPack } from './open-pack.ts';
import type { PackEvent } from './sender.ts';

/** Sends packs, some at a time. */
export interface Courier {
  /** Another pack may be sent now. */
  readonly hasRoom: boolean;
  /** What a pack failed with first; undefined again after `forgive`. */
  readonly failure: EvictdError | undefined;
  /** Only where there is room. `onEnd`: nobody reads the pack's memory any more. */
  send(pack: SealedPack, onEnd: () => void): void;
  /** Resolves when a pack has ended, whichever way; at once where none is under way. Rejects with the signal's reason. */
  progress(signal: AbortSignal): Promise<void>;
  readonly underWay: number;
  forgive(): void;
}

export interface CourierOptions {
  readonly packPrefix: string;
  readonly placesMax: number;
}

export interface CourierDependencies {
  readonly store: Pick<BlobStore, 'create' | 'read'>;
  readonly clock: Clock;
  readonly onPack: (event: PackEvent) => void;
  /** Ends everything. */
  readonly lifetime: AbortSignal;
}

export function createCourier(
  { packPrefix, placesMax }: CourierOptions,
  { store, clock, onPack, lifetime }: CourierDependencies,
): Courier {
  let underWay = 0;
  let failure: EvictdError | undefined;
  let ended = Promise.withResolvers<void>();

  const deliver = async ({ name, body }: SealedPack): Promise<PackEvent> => {
    const beganAt = clock.monotonicMs();
    const bytes = body.length;
    try {
      const options = { contentType: 'application/octet-stream' };
      const { outcome, isVersioned } = await createOnce(store, packPrefix + name, body, options, lifetime);
      if (outcome === 'other') throw packTaken(packPrefix + name);
      const tookMs = clock.monotonicMs() - beganAt;
      return { kind: 'stored', name, bytes, tookMs, isVersioned };
    } catch (error) {
      return { kind: 'failed', name, error: asEvictdError(error) };
    }
  };

  return {
    get hasRoom() {
      return underWay < placesMax;
    },
    get failure() {
      return failure;
    },
    get underWay() {
      return underWay;
    },
    send(pack, onEnd) {
      underWay++;
      onPack({ kind: 'began', name: pack.name, bytes: pack.body.length });
      void deliver(pack).then((event) => {
        underWay--;
        if (event.kind === 'failed') failure ??= event.error;
        onEnd();
        onPack(event);
        const { resolve } = ended;
        ended = Promise.withResolvers();
        resolve();
      });
    },
    progress: (signal) => (underWay === 0 ? Promise.resolve() : abandonOn(signal, ended.promise)),
    forgive: () => void (failure = undefined),
  };
}

function packTaken(name: string): EvictdError {
  return new EvictdError('pack-taken', `there is another blob under the name ${name} of a new pack`, {
    remedy: 'nothing of it was overwritten; the next checkpoint uses other names',
  });
}

function asEvictdError(error: unknown): EvictdError {
  return error instanceof EvictdError
    ? error
    : new EvictdError('pack-failed', `a pack could not be sent: ${messageOf(error)}`, { cause: error });
}
