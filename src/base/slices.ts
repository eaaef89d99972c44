/** Of some microseconds each, so that a slice takes a few milliseconds. */
const ITEMS_TOGETHER = 1000;

/**
 * Calls `task` for each item, and lets timers and answers have their turn after every `itemsTogether` (default 1,000):
 * for hundreds of thousands of items, none of which waits for anything. Rejects with the signal's reason.
 */
export async function forEachInSlices<T>(
  items: Iterable<T>,
  task: (item: T) => void,
  signal?: AbortSignal,
  itemsTogether = ITEMS_TOGETHER,
): Promise<void> {
  let count = 0;
  for (const item of items) {
    task(item);
    if (++count % itemsTogether !== 0) continue;
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  }
}
