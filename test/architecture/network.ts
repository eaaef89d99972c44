import { importsOf, lineAt, type Source } from './source.ts';

interface Restriction {
  /** The module as it is imported. */
  readonly modules: RegExp;
  /** Files or folders where it belongs. */
  readonly allowedIn: readonly string[];
  /** What may be had of it everywhere. */
  readonly names?: ReadonlySet<string>;
  readonly instead: string;
}

/** Of HTTP, Azure's protocols and the network nothing is ours but servers and Unix sockets. */
const RESTRICTIONS: readonly Restriction[] = [
  {
    modules: /^(?:node:)?(?:net|tls|dgram|http|https|http2)$/,
    allowedIn: ['src/mock/server.ts', 'src/observe/http-listener.ts', 'src/control/', 'src/daemon/drill.ts'],
    // They open nothing.
    names: new Set(['isIP', 'isIPv4', 'isIPv6', 'DEFAULT_CIPHERS']),
    instead: 'ask by createHttpClient (src/base/http.ts)',
  },
  {
    modules: /^undici(?:$|\/)/,
    allowedIn: [
      'src/base/http.ts',
      'src/base/undici.d.ts',
      'src/checkpoint/store/azure/undici-http-client.ts',
    ],
    instead: 'ask by createHttpClient (src/base/http.ts)',
  },
  { modules: /xml/i, allowedIn: [], instead: 'leave it to the Azure SDK' },
  {
    modules: /^(?:node:)?crypto$/,
    // The id of a chunk is a keyed hash of it.
    allowedIn: ['src/checkpoint/format/chunk-id.ts'],
    names: new Set([
      'createHash',
      'createCipheriv',
      'createSecretKey',
      'hash',
      'randomBytes',
      'randomInt',
      'randomUUID',
    ]),
    instead: 'leave it to the Azure SDK to sign requests',
  },
];

/** A call of the global one. What has a function of that name means its own. */
const FETCH = /\bglobalThis\s*\.\s*fetch\b|(?<=\b(?:await|return|void|yield)\s+|[=(,:?&|>]\s*)fetch\s*\(/g;

/** Clients of the network that are none of ours, and protocols that the Azure SDK speaks. */
export function checkNetwork(sources: readonly Source[]): readonly string[] {
  return sources.flatMap((source) => [...restricted(source), ...fetches(source)]);
}

function restricted(source: Source): readonly string[] {
  const imported = importsOf(source).filter(({ isTypeOnly }) => !isTypeOnly);
  const builtin = [...source.text.matchAll(/\b(?:getBuiltinModule|require)\(\s*'([^']+)'/g)].map(
    ({ 1: specifier = '', index }) => ({ specifier, line: lineAt(source.text, index), names: undefined }),
  );
  return [...imported, ...builtin].flatMap(({ specifier, line, names }) =>
    RESTRICTIONS.filter(({ modules }) => modules.test(specifier))
      .filter(({ allowedIn }) => !allowedIn.some((place) => source.path.startsWith(place)))
      .filter((restriction) => names?.every((name) => restriction.names?.has(name) === true) !== true)
      .map(({ instead }) => `${source.path}:${line}: ${specifier} is not for this file; ${instead}`),
  );
}

function fetches({ path, code }: Source): readonly string[] {
  if (/\bfunction\s+fetch\b/.test(code)) return [];
  return [...code.matchAll(FETCH)].map(
    ({ index }) =>
      `${path}:${lineAt(code, index)}: the global fetch has Node load a second undici; ask by createHttpClient (src/base/http.ts)`,
  );
}
