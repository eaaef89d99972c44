import { type FileChunk, type PackName, isStored } from '../../format/chunk.ts';
import type { PackEvent } from '../../pack/sender.ts';

/** Knows which packs are stored, and which files wait for which. */
export type PackWatch = ReturnType<typeof createPackWatch>;

export function createPackWatch(onPack: (event: PackEvent) => void) {
  const stored = new Set<PackName>();
  const sealed = new Map<PackName, number>();
  /** Packs that files were put into, by this upload. */
  const ours = new Set<PackName>();
  /** Packs that files were put into, and that aren't sealed yet. */
  const open = new Set<PackName>();
  const waiting = new Map<PackName, (() => void)[]>();
  /** Also those of an earlier reading, which is compared with. Nearly always there is none, or one. */
  const notStored = (chunks: readonly FileChunk[]): readonly PackName[] => {
    const names: PackName[] = [];
    for (const chunk of chunks) {
      if (!isStored(chunk) || stored.has(chunk.pack) || !ours.has(chunk.pack)) continue;
      if (names.at(-1) !== chunk.pack && !names.includes(chunk.pack)) names.push(chunk.pack);
    }
    return names;
  };
  let onSealed: (() => void) | undefined;
  let onEnded: ((name: PackName) => void) | undefined;
  return {
    onPack(this: void, event: PackEvent) {
      onPack(event);
      const { name } = event;
      if (event.kind === 'began') {
        sealed.set(name, event.bytes);
        open.delete(name);
        if (open.size === 0) onSealed?.();
      }
      if (event.kind !== 'began') onEnded?.(name);
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
    /** Those that files were put into, and that nobody has begun to send. */
    open: (): readonly PackName[] => [...open],
    /** Resolves once each of them is stored, or has failed by then or later. One call at a time. */
    async ended(names: readonly PackName[]) {
      const left = new Set(names.filter((name) => !stored.has(name)));
      if (left.size === 0) return;
      await new Promise<void>((resolve) => {
        onEnded = (name) => void (left.delete(name) && left.size === 0 && resolve());
      });
    },
    began(packs: Iterable<PackName>) {
      for (const name of packs) {
        ours.add(name);
        if (!sealed.has(name)) open.add(name);
      }
    },
    /** Calls `tell` once the packs of all of them are stored; at once where none is on its way. */
    whenStored(chunks: readonly FileChunk[], tell: () => void) {
      const names = notStored(chunks);
      if (names.length === 0) return tell();
      let left = names.length;
      const onStored = left === 1 ? tell : () => void (--left === 0 && tell());
      for (const name of names) {
        const others = waiting.get(name);
        if (others === undefined) waiting.set(name, [onStored]);
        else others.push(onStored);
      }
      return undefined;
    },
  };
}
