/**
 * Gives memory that nobody uses any more back to the system, where Node was started with `--expose-gc`. By itself V8
 * looks for it when its own heap has grown, which in a daemon that only polls takes hours, and it doesn't count memory
 * that threads share. What V8 keeps for objects to come goes back, too. Stops everything for some 50 ms: only for
 * moments at which nobody waits.
 */
export function collectGarbage(): void {
  if (globalThis.gc === undefined) return;
  globalThis.gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  trimAllocator();
}

/**
 * Of what was freed, glibc's malloc gives back by itself only what lies above all that is still used: once we have
 * started, half of its 9 MiB is free and stays. Does nothing where Node has no `node:ffi` (before 26.1) or the C library
 * isn't glibc.
 * Source: malloc_trim(3).
 */
function trimAllocator(): void {
  try {
    const ffi = process.getBuiltinModule('node:ffi');
    using library = ffi.dlopen(null, { malloc_trim: { arguments: ['uint64'], return: 'int32' } });
    library.functions.malloc_trim(0n);
  } catch {
    // Memory stays with us for longer, which is all that would be lost.
  }
}
