/** A notice has nothing to wait for, and is acknowledged at once. */
export function isNothingToDo(hooks: number, sets = 0): boolean {
  return hooks === 0 && sets === 0;
}

export const NOTHING_TO_DO =
  'neither hooks nor checkpoint sets are configured: nothing would be saved, and the event acknowledged at once';
