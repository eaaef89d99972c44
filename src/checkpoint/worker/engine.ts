import { AssertionFailed } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import { compareFile } from '../pack/compare-file.ts';
import { fetchChunks } from '../pack/fetch-chunks.ts';
import { createPackSender } from '../pack/send-packs.ts';
import type { PackEvent, Sender } from '../pack/sender.ts';
import { listFolders, lookAt } from '../scan/scan-thread.ts';
import type { BlobStore } from '../store/store.ts';
import type { EngineCalls, WirePackEvent } from './engine-calls.ts';
import type { Handlers } from './peer.ts';
import { callStore } from './remote-store.ts';
import { toWire } from './wire-error.ts';
import { fromWireItems, toWireResults } from './wire-items.ts';

export interface EngineDependencies {
  readonly store: BlobStore;
  readonly clock: Clock;
  prepare(this: void): Promise<void>;
  leave(this: void): void;
  onPack(this: void, sender: number, event: WirePackEvent): void;
}

/** What an engine thread does when it is asked. */
export function createEngine({
  store,
  clock,
  prepare,
  leave,
  onPack,
}: EngineDependencies): Handlers<EngineCalls> {
  const senders = new Map<number, Sender>();
  const senderOf = (number: number): Sender => {
    const sender = senders.get(number);
    if (sender === undefined) throw new AssertionFailed(`there is no sender ${number}`);
    return sender;
  };
  return {
    prepare,
    list: listFolders,
    look: lookAt,
    fetch: (order, signal) => fetchChunks(order, store, signal),
    compare: compareFile,
    store: (call, signal) => callStore(store, call, signal),
    openSender({ sender, options }) {
      const onEvent = (event: PackEvent) => onPack(sender, toWireEvent(event));
      senders.set(sender, createPackSender(options, { store, clock, onPack: onEvent }));
    },
    feed: async ({ sender, items, seqs }, signal) =>
      toWireResults(await senderOf(sender).feed(fromWireItems(items), seqs, signal)),
    putPieces: ({ sender, pieces, seqs }, signal) => senderOf(sender).putPieces(pieces, seqs, signal),
    seal: ({ sender }, signal) => senderOf(sender).seal(signal),
    flush: ({ sender }, signal) => senderOf(sender).flush(signal),
    drop: ({ sender }, signal) => senderOf(sender).drop(signal),
    async closeSender({ sender }) {
      await senderOf(sender).close();
      senders.delete(sender);
    },
    leave,
  };
}

function toWireEvent(event: PackEvent): WirePackEvent {
  return event.kind === 'failed' ? { ...event, error: toWire(event.error) } : event;
}
