import { assert } from '../../base/assert.ts';
import type { PackName } from '../format/chunk.ts';
import { packName } from '../format/names.ts';
import type { Courier } from './courier.ts';
import { createOpenPack, memoryFor } from './open-pack.ts';
import { giveBack } from './pack-memory.ts';
import type { OpenPack, PackPurpose } from './open-pack.ts';
import type { SenderOptions } from './sender.ts';

/** The packs that are being filled, at most one for each purpose. */
export interface BegunPacks {
  /** For the packs to come, in place of those that are left. */
  giveNumbers(seqs: readonly number[]): void;
  packFor(this: void, purpose: PackPurpose, bytes: number): OpenPack | undefined;
  /** Those with something in them. */
  begun(): readonly PackPurpose[];
  /** False: there is no room for it under way. */
  send(purpose: PackPurpose): boolean;
  /** Answers the names of those that had one. */
  drop(): readonly PackName[];
  freeMemory(): void;
}

export function createBegunPacks(
  { cut: { packBytes }, epoch, process }: SenderOptions,
  courier: Courier,
): BegunPacks {
  const open = new Map<PackPurpose, OpenPack>();
  let numbers: readonly number[] = [];
  let used = 0;
  const spare: Buffer[] = [];

  const nextName = (): PackName => {
    const number = numbers[used++];
    assert(number !== undefined, 'there are fewer numbers than seqsFor says');
    return packName(epoch, process, number);
  };
  const send = (purpose: PackPurpose): boolean => {
    const pack = open.get(purpose);
    if (pack?.name === undefined) return true;
    if (!courier.hasRoom) return false;
    open.delete(purpose);
    courier.send(pack.seal(), () => void spare.push(pack.memory));
    return true;
  };
  return {
    giveNumbers(seqs) {
      numbers = seqs;
      used = 0;
    },
    packFor(purpose, bytes) {
      const pack = open.get(purpose);
      if (pack?.fits(bytes) === true) return pack;
      if (!send(purpose)) return undefined;
      const memory = spare.pop() ?? memoryFor(packBytes);
      const next = createOpenPack({ purpose, packBytes, memory, nextName });
      open.set(purpose, next);
      return next;
    },
    begun: () => [...open].filter(([, { name }]) => name !== undefined).map(([purpose]) => purpose),
    send,
    drop() {
      const packs = [...open.values()];
      open.clear();
      spare.push(...packs.map(({ memory }) => memory));
      return packs.flatMap(({ name }) => name ?? []);
    },
    freeMemory() {
      // By themselves they would stay until somebody looks for garbage.
      for (const memory of spare.splice(0)) giveBack(memory);
    },
  };
}
