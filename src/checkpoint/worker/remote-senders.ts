import { EvictdError } from '../../base/errors.ts';
import type { PackName } from '../format/chunk.ts';
import type { PackEvent, Sender, SenderOptions } from '../pack/sender.ts';
import type { EngineCalls, OfSender, WirePackEvent } from './engine-calls.ts';
import type { Peer } from './peer.ts';
import { fromWire } from './wire-error.ts';
import { fromWireResults, toWireItems } from './wire-items.ts';

/** The senders of one thread, as the main thread has them. */
export interface RemoteSenders {
  readonly count: number;
  open(this: void, options: SenderOptions, onPack: (event: PackEvent) => void): Promise<Sender>;
  /** The thread tells. */
  onPack(told: OfSender & { readonly event: WirePackEvent }): void;
  /** The thread is no more: what was under way has failed with this. */
  end(error: EvictdError): void;
}

interface Listener {
  readonly onPack: (event: PackEvent) => void;
  /** Packs that are on their way. */
  readonly underWay: Set<PackName>;
}

export function createRemoteSenders(peer: Peer<EngineCalls>, onChange: () => void): RemoteSenders {
  const listeners = new Map<number, Listener>();
  let serial = 0;
  return {
    get count() {
      return listeners.size;
    },
    async open(options, onPack) {
      const sender = ++serial;
      listeners.set(sender, { onPack, underWay: new Set() });
      const closed = () => {
        listeners.delete(sender);
        onChange();
      };
      try {
        await peer.call('openSender', { sender, options });
      } catch (error) {
        closed();
        throw error;
      }
      return remoteSender(peer, sender, closed);
    },
    onPack({ sender, event }) {
      const { onPack, underWay } = listeners.get(sender) ?? {};
      if (event.kind === 'began') underWay?.add(event.name);
      else underWay?.delete(event.name);
      onPack?.(fromWireEvent(event));
    },
    end(error) {
      const all = [...listeners.values()];
      listeners.clear();
      for (const { onPack, underWay } of all)
        for (const name of underWay) onPack({ kind: 'failed', name, error });
    },
  };
}

function remoteSender(peer: Peer<EngineCalls>, sender: number, closed: () => void): Sender {
  let closing: Promise<void> | undefined;
  const close = async () => {
    try {
      await peer.call('closeSender', { sender });
    } catch {
      // With its thread a sender is gone as well.
    } finally {
      closed();
    }
  };
  return {
    feed: async (items, seqs, signal) =>
      fromWireResults(await peer.call('feed', { sender, items: toWireItems(items), seqs }, signal)),
    putPieces: (pieces, seqs, signal) =>
      // Of a part of larger memory all of that would be copied.
      peer.call('putPieces', { sender, pieces: pieces.map((piece) => new Uint8Array(piece)), seqs }, signal),
    seal: (signal) => peer.call('seal', { sender }, signal),
    flush: (signal) => peer.call('flush', { sender }, signal),
    drop: (signal) => peer.call('drop', { sender }, signal),
    close: () => (closing ??= close()),
  };
}

function fromWireEvent(event: WirePackEvent): PackEvent {
  if (event.kind !== 'failed') return event;
  const error = fromWire(event.error);
  if (error instanceof EvictdError) return { ...event, error };
  throw error;
}
