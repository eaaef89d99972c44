import { lineAt, type Source } from './source.ts';

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  /** What to do instead. */
  readonly instead: string;
  /** Files or folders where it belongs. */
  readonly allowedIn: readonly string[];
  /** Looks at comments and strings too. */
  readonly inText?: boolean;
}

// With dots, so that this file doesn't break the rule itself.
const LEFTOVERS = ['T.O.D.O', 'F.I.X.M.E', 'X.X.X', 'H.A.C.K'].map((word) => word.replaceAll('.', ''));

/** What src must not do; lint has no rule for these, or none with exceptions by folder. */
const BANS: readonly Ban[] = [
  {
    what: 'process.env',
    pattern: /\bprocess\s*\.\s*env\b|\bprocess\s*\[/g,
    instead: 'take the environment from Invocation.env, or the value from the parsed config',
    // The identity SDK can be pointed at another endpoint by its variable only.
    allowedIn: ['src/main.ts', 'src/config/', 'src/daemon/wire', 'src/checkpoint/azure-identity.ts'],
  },
  {
    what: 'the clock',
    pattern:
      /\bDate\s*\.\s*now\b|\bperformance\s*\.\s*now\b|\bnew\s+Date\s*\(\s*\)|\bnew\s+Date\b(?!\s*\()|\bprocess\s*\.\s*hrtime\b/g,
    instead: 'take a Clock (src/base/clock.ts)',
    allowedIn: ['src/base/clock.ts'],
  },
  {
    what: 'a timer',
    pattern: /(?<!\.)\b(?:setTimeout|setInterval)\b|\bAbortSignal\s*\.\s*timeout\b/g,
    instead: 'use Clock.timer, sleep or boundedSignal (src/base)',
    allowedIn: ['src/base/clock.ts'],
  },
  {
    what: 'timers/promises',
    pattern: /['"](?:node:)?timers(?:\/promises)?['"]/g,
    instead: 'use sleep (src/base/abort.ts)',
    allowedIn: [],
    inText: true,
  },
  {
    what: 'randomness in the core',
    pattern: /\bMath\s*\.\s*random\b|\brandomUUID\b/g,
    instead: 'take it as an input',
    allowedIn: [
      'src/base/',
      'src/imds/',
      'src/hooks/',
      'src/checkpoint/',
      'src/journal/',
      'src/control/',
      'src/mock/',
      'src/daemon/',
    ],
  },
  {
    what: 'console',
    pattern: /\bconsole\s*\./g,
    instead: 'write to Invocation.out or Invocation.err, or log',
    allowedIn: [],
  },
  {
    what: 'AbortSignal.any',
    pattern: /\bAbortSignal\s*\.\s*any\b/g,
    instead: 'use boundedSignal (src/base/abort.ts), which leaves nothing behind on its parent',
    allowedIn: [],
  },
  {
    what: 'matching on message text',
    pattern: /\.message\s*(?:[!=]==?\s*['"`]|\.(?:includes|startsWith|endsWith|match)\b)/g,
    instead: 'look at the code of the error',
    allowedIn: [],
  },
];

export function checkBans(sources: readonly Source[]): readonly string[] {
  return sources.flatMap((source) =>
    BANS.filter(({ allowedIn }) => !allowedIn.some((place) => source.path.startsWith(place))).flatMap((ban) =>
      placesOf(ban.pattern, source, ban.inText === true ? source.text : source.code).map(
        (place) => `${place}: ${ban.what} is not for this file; ${ban.instead}`,
      ),
    ),
  );
}

/** Notes to oneself are done or are issues; they don't stay in the code. */
export function checkLeftovers(sources: readonly Source[]): readonly string[] {
  const pattern = new RegExp(String.raw`\b(?:${LEFTOVERS.join('|')})\b`, 'g');
  return sources.flatMap((source) =>
    placesOf(pattern, source, source.text).map(
      (place) => `${place}: a note to oneself; do it or open an issue`,
    ),
  );
}

/** A lint rule may be switched off where it is wrong, with the reason: `oxlint-disable-next-line RULE -- REASON`. */
export function checkDisabledRules(sources: readonly Source[]): readonly string[] {
  const directive =
    /(?:oxlint|eslint)-disable(?:-next-line|-line)?\b(?![^\n]*\s--\s+\S)[^\n]*|@ts-(?:ignore|nocheck)\b/g;
  return sources.flatMap((source) =>
    placesOf(directive, source, source.text).map(
      (place) => `${place}: a rule is switched off without a reason; add " -- REASON"`,
    ),
  );
}

/** `as TYPE` claims what the compiler can't see; a comment beside it says why it is true. `as const` and `as unknown` claim nothing. */
export function checkAssertions(sources: readonly Source[]): readonly string[] {
  return sources.flatMap((source) => {
    const lines = source.text.split('\n');
    const withoutImports = source.code.replaceAll(
      /\b(?:import|export)\b[^;'"`()=]*?(?:from|\})|\*\s+as\b/g,
      (part) => part.replaceAll(/[^\n]/g, ' '),
    );
    return placesOf(
      /(?<=[\w)\]}>'"`]\s+)as\s+(?!(?:const|unknown)\b)[\w{[(]/g,
      source,
      withoutImports,
    ).flatMap((place) => {
      const line = Number(place.split(':').at(-1));
      const around = lines.slice(Math.max(0, line - 4), line);
      const isExplained = around.some((text) => /\/\/|\*\//.test(text));
      return isExplained ? [] : [`${place}: a type assertion without a comment; say why it holds, or parse`];
    });
  });
}

/** A name that says nothing collects everything. */
export function checkFileNames(sources: readonly Source[]): readonly string[] {
  return sources
    .filter(({ path }) => /(?:^|\/)(?:utils?|helpers?|misc|common|lib)(?:\.ts|\/)/.test(path))
    .map(({ path }) => `${path}: name the file for its concern`);
}

/** Tests put fakes in through dependencies, they don't replace modules, and don't wait by time. */
export function checkTests(sources: readonly Source[]): readonly string[] {
  return sources.flatMap((source) =>
    placesOf(/\bvi\s*\.\s*(?:mock|doMock|hoisted)\b/g, source, source.code).map(
      (place) => `${place}: a mocked module; pass a fake as a dependency instead`,
    ),
  );
}

function placesOf(pattern: RegExp, { path }: Source, text: string): readonly string[] {
  return [...text.matchAll(pattern)].map((match) => `${path}:${lineAt(text, match.index)}`);
}
