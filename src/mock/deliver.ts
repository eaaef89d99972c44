import type { ServerResponse } from 'node:http';

import { sleep } from '../base/abort.ts';
import type { Clock, WallMs } from '../base/clock.ts';
import type { MockAnswer } from './answer.ts';
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
  const answer = bend(makeAnswer(), faults);
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

function bend(answer: MockAnswer, faults: readonly FaultSpec[]): MockAnswer {
  const bent = replace(answer, faults);
  if (!faults.some((fault) => fault.kind === 'truncated')) return bent;
  return { ...bent, body: bent.body.slice(0, Math.floor(bent.body.length / 2)) };
}

/** The first fault that replaces the whole answer does; the others only bend the events document. */
function replace(answer: MockAnswer, faults: readonly FaultSpec[]): MockAnswer {
  for (const fault of faults) {
    switch (fault.kind) {
      case 'status':
        return {
          ...answer,
          status: fault.status,
          body: JSON.stringify({ error: `mock fault: ${fault.status}` }),
        };
      case 'redirect':
        return { ...answer, status: 302, body: '', headers: { location: fault.to } };
      case 'empty':
        return { ...answer, status: 200, body: '' };
      case 'html':
        return {
          status: 200,
          body: '<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Proxy</body></html>\n',
          contentType: 'text/html; charset=utf-8',
        };
      case 'huge':
        // A document that would be valid: only its size is wrong.
        return {
          ...answer,
          status: 200,
          body: `{"DocumentIncarnation":1,"Events":[],"Pad":"${'x'.repeat(fault.size)}"}`,
        };
      default:
        break;
    }
  }
  return answer;
}
