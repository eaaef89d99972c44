/**
 * Finds memory that nobody uses any more, where Node was started with `--expose-gc`. By itself V8 looks for it when its
 * own heap has grown, which in a daemon that only polls takes hours, and it doesn't count memory that threads share.
 * What V8 keeps for objects to come goes back to the system, too. Stops everything for some 50 ms: only for moments at
 * which nobody waits.
 */
export function collectGarbage(): void {
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
