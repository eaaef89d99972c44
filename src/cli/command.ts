/**
 * One entry of the command table: the source of parsing, help, man page and README.
 * `run` answers the exit code; it prints results to `out`, everything else to `err`.
 */
export interface Command {
  /** Words after `evictd`, for example `config check`. */
  readonly name: string;
  readonly summary: string;
  /** Further lines of the help page: what it does, when to use it. */
  readonly description?: string;
  /** Stands below the options, as it is: tables and examples. */
  readonly manual?: string;
  readonly positionals?: readonly PositionalSpec[];
  readonly options: readonly OptionSpec[];
  /** Loads the code of the command only when it is called, so that `version` doesn't pay for the Azure SDK. */
  run(invocation: Invocation): Promise<ExitCode>;
}

export interface PositionalSpec {
  readonly name: string;
  readonly description: string;
  readonly required: boolean;
  readonly variadic?: boolean;
  /** The only values it may have. */
  readonly choices?: readonly string[];
}

export interface OptionSpec {
  /** Long name without dashes. */
  readonly name: string;
  /** What the value stands for in the help, `FILE`; absent for a flag. */
  readonly value?: string;
  readonly description: string;
  readonly required?: boolean;
  /** The only values it may have. */
  readonly choices?: readonly string[];
}

export interface Invocation {
  /** By long name; flags are `true`. */
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: Output;
  readonly err: Output;
  /** Aborted at SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
}

export interface Output {
  /** Lines; what could move a terminal's cursor or hide text in them is written as `\uXXXX`, since others wrote some of it. */
  write(text: string): void;
  /** As it is, for colours and bars of our own; texts of others in it have to be as `shownText` makes them. */
  draw(text: string): void;
  /** A terminal: colours and bars are allowed (unless NO_COLOR). */
  readonly isTerminal: boolean;
  /** Width of the terminal; undefined elsewhere. */
  readonly columns?: number | undefined;
}

export const EXIT = {
  done: 0,
  failed: 1,
  /** Usage or config error. */
  usage: 2,
  /** Nothing to do or nothing found. */
  nothing: 3,
  /** A drill that doesn't fit the window. */
  tooSlow: 4,
  notRunning: 69,
  bug: 70,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** For help and man page. */
export const EXIT_MEANINGS: Readonly<Record<ExitCode, string>> = {
  [EXIT.done]: 'done',
  [EXIT.failed]: 'it failed',
  [EXIT.usage]: 'usage or config error',
  [EXIT.nothing]: 'nothing to do, or nothing found',
  [EXIT.tooSlow]: 'the drill does not fit the window',
  [EXIT.notRunning]: 'the daemon is not running',
  [EXIT.bug]: 'a bug in evictd',
};
