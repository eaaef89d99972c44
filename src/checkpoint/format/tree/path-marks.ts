import { randomInt } from 'node:crypto';

const SLOTS_FIRST = 1024;

/** A set of paths that can only be asked whether it has one. */
export interface PathMarks {
  add(path: string): void;
  has(path: string): boolean;
}

/**
 * Holds a path by 52 bits of a hash that nobody can foresee, in 16 to 32 bytes: a million paths take a fifth of what the
 * strings would. That a path seems to be there, but isn't, has a chance of one in a billion among so many.
 */
export function createPathMarks(): PathMarks {
  const seed = randomInt(2 ** 32);
  const otherSeed = randomInt(2 ** 32);
  /** Open addressing; 0: free. */
  let slots = new Float64Array(SLOTS_FIRST);
  let count = 0;

  const markOf = (path: string) => {
    let high = seed;
    let low = otherSeed;
    for (let at = 0; at < path.length; at++) {
      const unit = path.charCodeAt(at);
      high = Math.imul(high ^ unit, 0x01_00_01_93);
      low = Math.imul(low ^ unit, 0x85_eb_ca_6b) ^ (low >>> 15);
    }
    return (high >>> 0) * 2 ** 20 + (low >>> 12) + 1;
  };
  const slotOf = (mark: number) => {
    const last = slots.length - 1;
    let slot = Math.imul(Math.trunc(mark / 2 ** 20), 0x9e_37_79_b1) & last;
    while (slots[slot] !== 0 && slots[slot] !== mark) slot = (slot + 1) & last;
    return slot;
  };
  const grow = () => {
    const marks = slots.filter((mark) => mark !== 0);
    slots = new Float64Array(slots.length * 2);
    for (const mark of marks) slots[slotOf(mark)] = mark;
  };
  return {
    add(path) {
      const mark = markOf(path);
      const slot = slotOf(mark);
      if (slots[slot] === mark) return;
      slots[slot] = mark;
      if (++count * 2 > slots.length) grow();
    },
    has: (path) => slots[slotOf(markOf(path))] !== 0,
  };
}
