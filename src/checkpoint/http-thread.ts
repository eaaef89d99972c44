/**
 * The entry of a sending thread: encrypts and sends what other threads have read, so that the main thread goes on
 * polling however much there is to send. It ends when it is terminated. Built into a text of its own.
 */
import { parentPort, workerData } from 'node:worker_threads';

import { createConnector } from '../base/http-connection.ts';
import type { Connection } from '../base/http-connection.ts';
import type { HttpOrders, HttpOrigin, HttpOutcome } from '../base/http-order.ts';

// Given by startThread in http-sender.ts.
const connect = createConnector(workerData as HttpOrigin);
/** The one that was used last is used next, so that those which aren't needed any more end. */
const free: Connection[] = [];
const underWay = new Map<number, Connection>();
let outcomes: [number: number, outcome: HttpOutcome][] = [];

const listener = {
  onFree: (connection: Connection) => void free.push(connection),
  onEnd(connection: Connection) {
    const place = free.indexOf(connection);
    if (place !== -1) free.splice(place, 1);
  },
};

parentPort?.on('message', (orders: HttpOrders) => {
  for (const [number, request] of orders) {
    if (request === undefined) {
      underWay.get(number)?.end();
      continue;
    }
    const connection = free.pop() ?? connect(listener);
    underWay.set(number, connection);
    connection.exchange(request, (outcome) => {
      underWay.delete(number);
      // Those of one round of the event loop go together.
      if (outcomes.push([number, outcome]) === 1) setImmediate(report);
    });
  }
});

function report(): void {
  parentPort?.postMessage(outcomes, []);
  outcomes = [];
}
