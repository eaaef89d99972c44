import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { headerLines, requestHead } from '../base/http-order.ts';
import type { HttpOrder } from '../base/http-order.ts';
import { buildInfo } from '../base/version.ts';
import { blobNameProblem } from './azure-name.ts';
import { createSigner } from './azure-sign.ts';
import type { Signature, SignedHeaders } from './azure-sign.ts';
import type { StoreCredential } from './credentials.ts';
import type { TokenSource } from './token.ts';

/** A request in the words of the REST API. */
export interface BlobRequest {
  readonly method: 'PUT' | 'HEAD' | 'GET' | 'DELETE';
  /** Of the blob, in the container. Undefined: the container itself. */
  readonly name: string | undefined;
  /** Encoded, without the question mark; empty for none. */
  readonly query: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** Writes of blobs that have much in common. */
export interface BlobRequests {
  readonly requests: readonly {
    readonly name: string;
    readonly headers: BlobRequest['headers'];
    readonly body: Uint8Array;
  }[];
  /** Of all of them. */
  readonly query: string;
  /** Of all of them, in addition. */
  readonly headers: BlobRequest['headers'];
  /** Is to follow each of them, as by sendBoth. */
  readonly next: Pick<BlobRequest, 'query' | 'headers'> | undefined;
}

// Has all that is written here, and is known to emulators and to the clouds that get new versions late.
const SERVICE_VERSION = '2024-11-04';
export interface ReadyDependencies {
  readonly clock: Clock;
  readonly credential: StoreCredential;
  readonly tokens: TokenSource | undefined;
}

export interface ReadyMaker {
  /**
   * Makes a request of ours one that can go out: named, dated and signed. Throws `refused` for a name that could not be
   * stored under itself; throws or rejects `no-token`.
   */
  request(request: BlobRequest): Ready | Promise<Ready>;
  /** The same for several, where they needn't be signed one by one. */
  together(group: BlobRequests): Promise<readonly HttpOrder[]>;
}

export function createReadyMaker(
  { containerUrl }: { readonly containerUrl: string },
  dependencies: ReadyDependencies,
): ReadyMaker {
  const { origin, host, pathname } = new URL(containerUrl);
  const sign = createSigner(dependencies);
  const agent = `evictd/${buildInfo().version}`;
  const dated = (headers: BlobRequest['headers']) => ({
    ...headers,
    'x-ms-version': SERVICE_VERSION,
    'x-ms-date': new Date(dependencies.clock.wallMs()).toUTCString(),
    'user-agent': agent,
  });
  const pathOf = (name: string | undefined) =>
    name === undefined ? pathname : `${pathname}/${encodeName(name)}`;
  /** What PUTs of any blobs have in common. */
  const inCommon = async ({ query, headers }: Pick<BlobRequest, 'query' | 'headers'>) => {
    const all = dated(headers);
    const signature = await sign({ method: 'PUT', url: containerUrl, query, headers: all });
    return { query: signature.query, lines: headerLines(signedBy(signature, all)) };
  };
  return {
    request({ method, name, query, headers, body }) {
      const bytes = body?.byteLength ?? 0;
      const all: SignedHeaders = {
        ...dated(headers),
        ...(method === 'PUT' && { 'content-length': String(bytes) }),
      };
      const path = pathOf(name);
      const finish = (signature: Signature): Ready => {
        return { method, path: `${path}${signature.query}`, headers: signedBy(signature, all), body };
      };
      const signature = sign({ method, url: `${origin}${path}`, query, headers: all });
      return signature instanceof Promise ? signature.then(finish) : finish(signature);
    },
    async together({ requests, headers, query, next }) {
      const write = await inCommon({ query, headers });
      const follow =
        next && (await inCommon({ ...next, headers: { ...next.headers, 'content-length': '0' } }));
      return requests.map(({ name, headers: own, body }) => {
        const path = pathOf(name);
        const one = { ...own, 'content-length': String(body.byteLength) };
        return {
          head: requestHead('PUT', host, `${path}${write.query}`, one, write.lines),
          body,
          next: follow && requestHead('PUT', host, `${path}${follow.query}`, {}, follow.lines),
        };
      });
    },
  };
}

function signedBy({ authorization }: Signature, headers: SignedHeaders): SignedHeaders {
  return authorization === undefined ? headers : { ...headers, authorization };
}

/** A signed request. */
export interface Ready {
  readonly method: BlobRequest['method'];
  readonly path: string;
  readonly headers: SignedHeaders;
  readonly body: Uint8Array | undefined;
}

/**
 * As the SDK does: slashes divide the name, all else that isn't plain is escaped. Throws `refused` for a name that could
 * not be stored under itself.
 */
function encodeName(name: string): string {
  const problem = blobNameProblem(name);
  if (problem !== undefined)
    throw new EvictdError('refused', `the blob name ${JSON.stringify(name)} ${problem}`);
  return encodeURIComponent(name).replaceAll('%2F', '/');
}
