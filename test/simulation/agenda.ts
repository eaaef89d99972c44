/** What is to happen, in the order of its times; what has the same time, in the order in which it was put down. */
export interface Agenda {
  now(this: void): number;
  /** Times are in ms since the beginning of the simulated world. */
  at(time: number, run: () => void): Disposable;
  after(delayMs: number, run: () => void): Disposable;
  /** Lets everything happen up to `end`, as long as `goesOn` says so. */
  play(end: number, goesOn: () => boolean): Promise<void>;
}

interface Entry {
  readonly time: number;
  readonly number: number;
  run: (() => void) | undefined;
}

/** More than any life needs: one that doesn't get on is a defect too. */
const ENTRIES_MAX = 400_000;

/** `settled` resolves when everything that can go on without a further entry has done so. */
export function createAgenda(settled: () => Promise<void>): Agenda {
  const heap: Entry[] = [];
  let time = 0;
  let count = 0;

  const isBefore = (one: Entry, other: Entry) =>
    one.time < other.time || (one.time === other.time && one.number < other.number);

  function push(entry: Entry): void {
    let place = heap.push(entry) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(entry, above)) break;
      heap[place] = above;
      place = parent;
    }
    heap[place] = entry;
  }

  function pop(): Entry | undefined {
    const [first] = heap;
    const last = heap.pop();
    if (first === undefined || last === undefined || first === last) return first;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      const [left, right] = [heap[child], heap[child + 1]];
      if (left === undefined) break;
      if (right !== undefined && isBefore(right, left)) child++;
      const least = heap[child];
      if (least === undefined || !isBefore(least, last)) break;
      heap[place] = least;
      place = child;
    }
    heap[place] = last;
    return first;
  }

  const at = (when: number, run: () => void): Disposable => {
    if (++count > ENTRIES_MAX) throw new Error('this life does not end');
    const entry: Entry = { time: Math.max(when, time), number: count, run };
    push(entry);
    return { [Symbol.dispose]: () => void (entry.run = undefined) };
  };

  return {
    now: () => time,
    at,
    after: (delayMs, run) => at(time + delayMs, run),
    async play(end, goesOn) {
      // What was begun right before may not have put anything down yet.
      await settled();
      while (goesOn()) {
        const next = heap[0];
        if (next === undefined || next.time > end) break;
        pop();
        if (next.run === undefined) continue;
        time = next.time;
        next.run();
        await settled();
      }
      if (goesOn()) time = end;
    },
  };
}
