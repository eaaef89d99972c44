import { type FileChunk, type PackName, isStored } from '../format/chunk.ts';
import type { PackEvent } from '../pack/sender.ts';

/** Knows which packs are stored, and which files wait for which. */
export type PackWatch = ReturnType<typeof createPackWatch>;

export function createPackWatch(onPack: (event: PackEvent) => void) {
  const stored = new Set<PackName>();
  const sealed = new Map<PackName, number>();
  /** Packs that files were put into, by this upload. */
  const ours = new Set<PackName>();
  /** Packs that files were put into, and that aren't sealed yet. */
  const open = new Set<PackName>();
  const waiting = new Map<PackName, Set<() => void>>();
  let onSealed: (() => void) | undefined;
  return {
    onPack(this: void, event: PackEvent) {
      onPack(event);
      const { name } = event;
      if (event.kind === 'began') {
        sealed.set(name, event.bytes);
        open.delete(name);
        if (open.size === 0) onSealed?.();
      }
      if (event.kind !== 'stored') return;
      stored.add(name);
      const told = waiting.get(name) ?? [];
      waiting.delete(name);
      for (const tell of told) tell();
    },
    bytesOf: (name: PackName) => sealed.get(name),
    sealedBytes: () => [...sealed.values()].reduce((sum, bytes) => sum + bytes, 0),
    sealed: () =>
      open.size === 0 ? Promise.resolve() : new Promise<void>((resolve) => (onSealed = resolve)),
    began(packs: Iterable<PackName>) {
      for (const name of packs) {
        ours.add(name);
        if (!sealed.has(name)) open.add(name);
      }
    },
    /** Also those of an earlier reading, which is compared with: they need not be stored yet. */
    ofOurs: (chunks: readonly FileChunk[]) =>
      new Set(chunks.flatMap((chunk) => (isStored(chunk) && ours.has(chunk.pack) ? [chunk.pack] : []))),
    whenStored(packs: Iterable<PackName>, tell: () => void) {
      const left = new Set([...packs].filter((name) => !stored.has(name)));
      if (left.size === 0) return tell();
      for (const name of left) {
        const onStored = () => {
          left.delete(name);
          if (left.size === 0) tell();
        };
        waiting.set(name, (waiting.get(name) ?? new Set()).add(onStored));
      }
      return undefined;
    },
  };
}
