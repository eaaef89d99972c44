import type { IncomingMessage } from 'node:http';

import * as z from 'zod';

import { tryParseJson } from '../base/json.ts';
import { json, type MockAnswer, plain, refusal } from './answer.ts';
import { EVENTS_API_VERSIONS, renderDocument } from './events-document.ts';
import type { PathClass } from './faults.ts';
import { answerToken } from './identity-token.ts';
import { answerInstance } from './instance-document.ts';
import type { FaultSpec } from './schema.ts';
import { noteAck, serverNow, type World } from './world.ts';

export interface MetadataRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly number: number;
}

const EVENTS_PATH = '/metadata/scheduledevents';
const TOKEN_PATH = '/metadata/identity/oauth2/token';
const INSTANCE_PATH = '/metadata/instance';

const IDENTITY_RATE_LIMIT = 20;

const StartRequests = z.object({
  StartRequests: z
    .array(z.object({ EventId: z.string().min(1) }))
    .min(1)
    .max(100),
});

/** What the service turns down before it looks at the path; undefined when it is a proper request. */
export function refuseImproper(world: World, request: MetadataRequest): MockAnswer | undefined {
  const { headers, url } = request;
  if (headers['x-forwarded-for'] !== undefined) {
    return refusal(400, 'Bad request. X-Forwarded-For is set: requests must not be proxied.');
  }
  if (headers['metadata'] !== 'true' && headers['metadata'] !== 'True') {
    return refusal(400, 'Bad request. Required metadata header not specified');
  }
  const names = [...url.searchParams.keys()].map((name) => name.toLowerCase());
  if (new Set(names).size < names.length) return refusal(400, 'Bad request. Duplicate query parameters.');
  return overRate(world, classify(request)) ? refusal(429, 'Too many requests') : undefined;
}

/** Which endpoint a request is for; undefined: none. */
export function classify(request: MetadataRequest): PathClass | undefined {
  const { pathname } = request.url;
  if (pathname === EVENTS_PATH) return request.method === 'POST' ? 'ack' : 'events';
  // The Azure SDK ends the path with a slash when it is pointed at another host.
  if (pathname === TOKEN_PATH || pathname === `${TOKEN_PATH}/`) return 'token';
  return pathname === INSTANCE_PATH || pathname.startsWith(`${INSTANCE_PATH}/`) ? 'instance' : undefined;
}

/** The answer of an endpoint, with the faults that bend documents. */
export function answerMetadata(
  world: World,
  path: PathClass,
  request: MetadataRequest,
  faults: readonly FaultSpec[],
): MockAnswer {
  const { method, url } = request;
  if (method !== 'GET' && path !== 'ack') return refusal(405, `Method ${method} is not allowed here`);
  switch (path) {
    case 'instance':
      return answerInstance(world.scenario.vm, url);
    case 'token':
      return answerToken(world.scenario.token, url, serverNow(world));
    case 'events':
    case 'ack': {
      const version = url.searchParams.get('api-version') ?? '';
      const wrong = refuseVersion(world, version);
      if (wrong !== undefined) return wrong;
      return path === 'ack' ? acknowledge(world, request) : answerEvents(world, version, faults);
    }
  }
}

function answerEvents(world: World, version: string, faults: readonly FaultSpec[]): MockAnswer {
  const document = renderDocument({
    events: world.board.list(),
    incarnation: world.board.incarnation(),
    version,
    shiftMs: world.shiftMs,
    kinds: new Set(faults.map((fault) => fault.kind)),
  });
  return json(200, document);
}

/**
 * 200 for every id that is or was announced, also when it is approved already. What the service says to an id that
 * never was isn't documented; the mock says 400, so that a client that makes ids up is found out.
 */
function acknowledge(world: World, request: MetadataRequest): MockAnswer {
  const payload = StartRequests.safeParse(tryParseJson(request.body));
  if (!payload.success)
    return refusal(400, 'Bad request. Malformed payload: expected {"StartRequests":[{"EventId":"…"}]}');
  const results = payload.data.StartRequests.map(({ EventId: eventId }) => {
    const known = world.board.acknowledge(eventId);
    noteAck(world, { at: world.clock.wallMs(), eventId, known, requestNumber: request.number });
    return known;
  });
  return results.includes(false) ? refusal(400, 'Bad request. Unknown EventId') : plain(200, '');
}

function refuseVersion(world: World, version: string): MockAnswer | undefined {
  const offered = world.scenario.service.apiVersions ?? EVENTS_API_VERSIONS;
  if (offered.includes(version)) return undefined;
  return /^\d{4}-\d{2}-\d{2}$/.test(version)
    ? refusal(404, `Not found: api-version ${version} is not available`)
    : refusal(400, 'Bad request. api-version is invalid or was not specified in the request.');
}

/**
 * Refused requests don't count, so a client that slows down is served again at once. Source: learn.microsoft.com, Azure
 * Instance Metadata Service, "Rate limiting": identity requests have a limit of their own.
 */
function overRate(world: World, path: PathClass | undefined): boolean {
  const { rateLimit } = world.scenario.service;
  const [recent, limit] =
    path === 'token' ? [world.recentTokensAt, IDENTITY_RATE_LIMIT] : [world.recentAt, rateLimit];
  const now = world.clock.monotonicMs();
  while (recent[0] !== undefined && now - recent[0] >= 1000) recent.shift();
  if (rateLimit > 0 && recent.length >= limit) return true;
  recent.push(now);
  return false;
}
