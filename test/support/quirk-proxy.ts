import { once } from 'node:events';
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { hierarchical } from './quirk-hierarchical.ts';
import { type Quirk, type QuirkAnswer, type QuirkRequest, isListing, isWrite, refusal } from './quirk.ts';

/** In which real accounts and networks differ from Azurite; each by documents or recorded answers. */
export type Profile = keyof typeof PROFILES;

export interface QuirkOptions {
  /** Of what is throttled or lost: every so many. Default 3. */
  readonly every?: number;
  /** By so much the service's clock is ahead of ours. */
  readonly aheadMs?: number;
  /** Names in the archive tier; may grow. */
  readonly archived?: ReadonlySet<string>;
}

export interface QuirkProxy extends AsyncDisposable {
  /** The target's URL with the proxy's port. */
  readonly url: string;
  /** In order of arrival, with what the client got; undefined where that was no answer. */
  readonly requests: readonly (QuirkRequest & { readonly status: number | undefined })[];
}

const PROFILES = {
  flat: (): Quirk => ({}),
  hns: hierarchical,
  worm,
  softdelete: (): Quirk => ({ after: kept }),
  versioned,
  archive,
  skew,
  throttle,
  lost,
  later,
  'container-scope': (): Quirk => ({
    // Azure looks at the role before it looks for the container.
    after: (_, answer) =>
      answer.headers['x-ms-error-code'] === 'ContainerNotFound'
        ? refusal(403, 'AuthorizationPermissionMismatch')
        : answer,
  }),
} satisfies Record<string, (options: QuirkOptions) => Quirk>;

/** Stands before the container `targetUrl` (plain http). Knows of blobs that were written through it. */
export async function createQuirkProxy(
  targetUrl: string,
  profiles: readonly Profile[],
  options: QuirkOptions = {},
): Promise<QuirkProxy> {
  const target = new URL(targetUrl);
  const quirks = profiles.map((profile) => PROFILES[profile](options));
  const requests: (QuirkRequest & { status: number | undefined })[] = [];

  async function serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await bodyOf(incoming);
    const url = new URL(incoming.url ?? '/', target);
    const seen = {
      method: incoming.method ?? '',
      name: decodeURIComponent(url.pathname.slice(target.pathname.length + 1)),
      query: url.searchParams,
      headers: incoming.headers,
      bytes: body.length,
      status: undefined as number | undefined,
    };
    requests.push(seen);
    let answer: QuirkAnswer | 'lost' | undefined;
    for (const quirk of quirks) answer ??= quirk.before?.(seen);
    answer ??= await ask(target, incoming, body);
    for (const quirk of quirks) if (answer !== 'lost') answer = quirk.after?.(seen, answer) ?? answer;
    if (answer === 'lost') {
      outgoing.socket?.resetAndDestroy();
      return;
    }
    seen.status = answer.status;
    const { 'transfer-encoding': _, ...headers } = answer.headers;
    const length = seen.method === 'HEAD' ? {} : { 'content-length': String(answer.body.length) };
    outgoing.writeHead(answer.status, { ...headers, ...length }).end(answer.body);
  }

  const server = createServer((incoming, outgoing) => {
    // A client that goes away in the middle is what some tests are about.
    serve(incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(targetUrl);
  // A server that listens on a TCP port has an AddressInfo.
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Immutable by a policy: nothing is written over, nothing is deleted. */
function worm(): Quirk {
  const names = new Set<string>();
  return {
    before: (request) =>
      names.has(request.name) && (isWrite(request) || request.method === 'DELETE')
        ? refusal(409, 'BlobImmutableDueToPolicy')
        : undefined,
    after(request, answer) {
      if (isWrite(request) && answer.status === 201) names.add(request.name);
      return answer;
    },
  };
}

/** What is deleted is kept for a while, or as an older version. */
function kept(request: QuirkRequest, answer: QuirkAnswer): QuirkAnswer {
  if (request.method !== 'DELETE' || answer.status !== 202) return answer;
  return { ...answer, headers: { ...answer.headers, 'x-ms-delete-type-permanent': 'false' } };
}

function versioned(): Quirk {
  return {
    after(request, answer) {
      if (!isWrite(request) || answer.status !== 201) return kept(request, answer);
      return { ...answer, headers: { ...answer.headers, 'x-ms-version-id': new Date().toISOString() } };
    },
  };
}

function archive({ archived = new Set() }: QuirkOptions): Quirk {
  return {
    before: (request) =>
      request.method === 'GET' && archived.has(request.name) ? refusal(409, 'BlobArchived') : undefined,
    after(request, answer) {
      if (!isListing(request)) return answer;
      const listed = answer.body.toString().replaceAll(/<Blob>.*?<\/Blob>/gs, (blob) => {
        const name = /<Name>(.*?)<\/Name>/s.exec(blob)?.[1] ?? '';
        return archived.has(name) ? blob.replace(/<AccessTier>\w+</, '<AccessTier>Archive<') : blob;
      });
      return { ...answer, body: Buffer.from(listed) };
    },
  };
}

/** A request that says it is from more than 15 minutes ago is not believed. */
function skew({ aheadMs = 0 }: QuirkOptions): Quirk {
  return {
    before({ headers }) {
      const date = Date.parse(String(headers['x-ms-date']));
      return Date.now() + aheadMs - date > 15 * 60_000 ? refusal(403, 'AuthenticationFailed') : undefined;
    },
  };
}

/** All that is listed was written a while ago. */
function later({ aheadMs = 0 }: QuirkOptions): Quirk {
  return {
    after(request, answer) {
      if (!isListing(request)) return answer;
      const date = new Date(Date.now() + aheadMs).toUTCString();
      return { ...answer, headers: { ...answer.headers, date } };
    },
  };
}

function throttle({ every = 3 }: QuirkOptions): Quirk {
  let count = 0;
  return {
    before: () => (++count % every === 1 ? refusal(503, 'ServerBusy', { 'retry-after': '1' }) : undefined),
  };
}

/** The write takes effect, the answer doesn't come. */
function lost({ every = 3 }: QuirkOptions): Quirk {
  let count = 0;
  return {
    after: (request, answer) =>
      (isWrite(request) || request.method === 'DELETE') && ++count % every === 1 ? 'lost' : answer,
  };
}

async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  // No encoding is set, so chunks are buffers.
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function ask(target: URL, incoming: IncomingMessage, body: Buffer): Promise<QuirkAnswer> {
  const { method, url: path, headers } = incoming;
  const request = forward({ host: target.hostname, port: target.port, method, path, headers });
  request.end(body);
  // An argument list, about which the types say nothing.
  const [answer] = (await once(request, 'response')) as [IncomingMessage];
  return { status: answer.statusCode ?? 502, headers: answer.headers, body: await bodyOf(answer) };
}
