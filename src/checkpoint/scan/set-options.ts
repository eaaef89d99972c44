/** What a set is, as the config has it. */
export interface SetOptions {
  readonly name: string;
  /** The folder. */
  readonly path: string;
  /**
   * Patterns of what belongs to it, below the folder, exactly as .gitignore reads them: without a slash (`*.tmp`) at
   * any depth, with one from the top (`a/*.bin`); a pattern that names a folder names all that is in it; the last one
   * that fits decides, and with a `!` it takes back. See `matcher` of set-patterns.ts.
   */
  readonly include: readonly string[];
  /** The same for what doesn't, although included. */
  readonly exclude: readonly string[];
  /** Lower is committed first; that order is the caller's to keep. */
  readonly priority: number;
  /** How new content is stored. */
  readonly compress?: 'none' | 'zstd';
  /** Patterns of files that are sent before all others. */
  readonly first?: readonly string[];
  /** Patterns of files that only ever grow: of one that grew, what it was before isn't read again. */
  readonly appendOnly?: readonly string[];
  /** What becomes of a commit with a deadline that the whole set doesn't fit into: nothing, or a partial checkpoint. */
  readonly atDeadline?: 'previous' | 'files';
  /** Patterns of files that a partial checkpoint has all new or all as before. */
  readonly together?: readonly string[];
}
