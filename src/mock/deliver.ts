import type { ServerResponse } from 'node:http';

import { sleep } from '../base/abort.ts';
import type { Clock, WallMs } from '../base/clock.ts';
import { json, type MockAnswer, plain, refusal } from './answer.ts';
import { rfc1123 } from './events-document.ts';
import type { FaultSpec } from './schema.ts';

export interface Delivery {
  readonly faults: readonly FaultSpec[];
  readonly clock: Clock;
  /** The service's own clock, for the Date header. */
  readonly serverNow: () => WallMs;
  /** Ends waiting: the client has gone. */
  readonly signal: AbortSignal;
}

/** Sends what `makeAnswer` says, or what the faults make of it. Asks for it only when the time has come to send. */
export async function deliver(
  response: ServerResponse,
  makeAnswer: () => MockAnswer,
  delivery: Delivery,
): Promise<void> {
  const { faults, clock, signal } = delivery;
  const delayMs = faults.reduce((sum, fault) => sum + (fault.kind === 'slow' ? fault.delay : 0), 0);
  if (delayMs > 0) await sleep(clock, delayMs, signal);
  // Left open: it ends when the client gives up, or with the mock.
  if (faults.some((fault) => fault.kind === 'hang')) return;
  const reset = faults.find((fault) => fault.kind === 'reset');
  if (reset?.after === 'request') {
    response.socket?.resetAndDestroy();
    return;
  }
  const answer = truncate(replacement(faults) ?? makeAnswer(), faults);
  const body = Buffer.from(answer.body);
  const skewMs = faults.reduce((sum, fault) => sum + (fault.kind === 'skewed-date' ? fault.by : 0), 0);
  response.sendDate = false;
  response.writeHead(answer.status, {
    date: rfc1123(delivery.serverNow() + skewMs),
    server: 'Microsoft-IIS/10.0',
    'content-type': answer.contentType,
    'content-length': body.length,
    ...answer.headers,
  });
  if (reset === undefined) response.end(body);
  else response.write(body.subarray(0, Math.ceil(body.length / 2)), () => response.socket?.resetAndDestroy());
}

function truncate(answer: MockAnswer, faults: readonly FaultSpec[]): MockAnswer {
  if (!faults.some((fault) => fault.kind === 'truncated')) return answer;
  return { ...answer, body: answer.body.slice(0, Math.floor(answer.body.length / 2)) };
}

/**
 * The first fault that stands for the whole answer does; the endpoint is then not asked, so that an
 * acknowledgement that is answered with a 500 has had no effect.
 */
function replacement(faults: readonly FaultSpec[]): MockAnswer | undefined {
  for (const fault of faults) {
    switch (fault.kind) {
      case 'status':
        return refusal(fault.status, `mock fault: ${fault.status}`);
      case 'redirect':
        return { ...plain(302, ''), headers: { location: fault.to } };
      case 'empty':
        return plain(200, '');
      case 'html':
        return {
          status: 200,
          body: '<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Proxy</body></html>\n',
          contentType: 'text/html; charset=utf-8',
        };
      case 'huge':
        // A document that would be valid: only its size is wrong.
        return json(200, { DocumentIncarnation: 1, Events: [], Pad: 'x'.repeat(fault.size) });
      default:
        break;
    }
  }
  return undefined;
}
