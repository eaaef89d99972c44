import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

import { sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { errnoOf, EvictdError, messageOf } from '../base/errors.ts';
import { type MockAnswer, refusal } from './answer.ts';
import { answerControl, createControl, type MockControl, performStep } from './control.ts';
import { deliver } from './deliver.ts';
import type { FaultSpec, Scenario } from './schema.ts';
import { answerMetadata, classify, type MetadataRequest, refuseImproper } from './metadata.ts';
import { scenarioOf } from './scenario.ts';
import { createWorld, noteAnswer, noteRequest, serverNow, type World } from './world.ts';

export interface MockImdsOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Default: one Spot VM, nothing on the timeline. */
  readonly scenario?: Scenario;
  /** Instead of the scenario's own. */
  readonly vmName?: string;
}

export interface MockImds extends MockControl {
  /** Base URL, as `imds.endpoint` takes it. */
  readonly url: string;
  readonly vmName: string;
  /** Ends every connection, also those that hang. */
  close(): Promise<void>;
}

const BODY_BYTES_MAX = 64 * 1024;
const REQUEST_TIMEOUT_MS = 30_000;

interface Serving {
  readonly world: World;
  readonly control: MockControl;
}

/**
 * Starts a metadata service on this machine that is as strict as the real one, with faults and control on top.
 * Throws `cannot-listen`. Sources: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events and
 * instance-metadata-service, learn.microsoft.com/entra/…/how-to-use-vm-token
 */
export async function startMockImds(
  options: MockImdsOptions,
  dependencies: { readonly clock: Clock },
): Promise<MockImds> {
  const { clock } = dependencies;
  const scenario = options.scenario ?? scenarioOf({});
  const vm = { ...scenario.vm, name: options.vmName ?? scenario.vm.name };
  const world = createWorld({ ...scenario, vm }, clock);
  const control = createControl(world);
  const serving: Serving = { world, control };
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    serve(serving, request, response).catch((error: unknown) => {
      // The client has gone, or the mock is being closed: nobody is left to be told. Anything else is a defect.
      if (!(error instanceof EvictdError) && errnoOf(error) === undefined) throw error;
      response.destroy();
    });
  });
  const url = await listen(server, options.host, options.port);
  const timers = scenario.timeline.map((step) => clock.timer(step.at, () => performStep(world, step)));
  return {
    ...control,
    url,
    vmName: vm.name,
    async close() {
      for (const timer of timers) timer[Symbol.dispose]();
      world.board.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        // With its connection each request that still waits ends, too.
        server.closeAllConnections();
      });
    },
  };
}

async function serve(serving: Serving, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = URL.parse(`http://mock${request.url ?? '/'}`);
  const method = request.method ?? '';
  const body = await readBody(request);
  if (url === null || body === undefined) {
    send(
      response,
      url === null ? refusal(400, 'Bad request. Unusable URL.') : refusal(413, 'The body is too large'),
    );
    return;
  }
  if (url.pathname === '/mock' || url.pathname.startsWith('/mock/')) {
    send(response, answerControl(serving.control, method, url.pathname, body));
    return;
  }
  const { world } = serving;
  const path = `${url.pathname}${url.search}`;
  const number = noteRequest(world, method, path, url.searchParams.get('api-version'));
  const gone = new AbortController();
  response.on('close', () => {
    gone.abort(new EvictdError('aborted', 'the client has gone'));
    noteAnswer(world, number, response.writableFinished ? response.statusCode : undefined);
  });
  response.on('finish', () => noteAnswer(world, number, response.statusCode));
  await serveMetadata(world, { method, url, headers: request.headers, body, number }, response, gone.signal);
}

async function serveMetadata(
  world: World,
  request: MetadataRequest,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const delivery = { clock: world.clock, serverNow: () => serverNow(world), signal };
  const refused = refuseImproper(world, request);
  const path = classify(request);
  if (refused !== undefined || path === undefined) {
    const answer = refused ?? refusal(404, `Not found: ${request.url.pathname}`);
    await deliver(response, () => answer, { ...delivery, faults: [] });
    return;
  }
  const faults: readonly FaultSpec[] = world.faults.take(path);
  if (path === 'events') await untilEnabled(world, signal);
  await deliver(response, () => answerMetadata(world, path, request, faults), { ...delivery, faults });
}

/** The first question enables the service, and until that is done nothing is answered. */
async function untilEnabled(world: World, signal: AbortSignal): Promise<void> {
  const now = world.clock.monotonicMs();
  world.firstAskedAt ??= now;
  const leftMs = world.firstAskedAt + world.scenario.service.firstAnswerDelay - now;
  if (leftMs > 0) await sleep(world.clock, leftMs, signal);
}

function send(response: ServerResponse, answer: MockAnswer): void {
  response.writeHead(answer.status, { 'content-type': answer.contentType });
  response.end(answer.body);
}

/** Undefined when it is too large; bounded in time by the server's request timeout. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // The stream's type says `any`; without an encoding it is made of Buffers.
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const reason = errnoOf(cause) ?? messageOf(cause);
      reject(
        new EvictdError('cannot-listen', `can't listen on ${host}:${port}: ${reason}`, {
          remedy: 'choose another address with --listen HOST:PORT',
          cause,
        }),
      );
    });
    server.listen(port, host, () => {
      const address = server.address();
      // A string is a pipe's name, which host and port never make.
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${bound}`);
    });
  });
}
