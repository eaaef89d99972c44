import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';

import { expect, onTestFinished, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { startHttpListener } from '../../src/observe/http-listener.ts';

test('who opens more connections than there may be, and asks nothing, keeps no scraper out', async () => {
  const listening = Promise.withResolvers<number>();
  const listener = startHttpListener(
    { key: 'metrics.listen', listen: { host: '127.0.0.1', port: 0 }, paths: ['/metrics'] },
    () => ({ status: 200, contentType: 'text/plain', body: 'here\n' }),
    { clock: systemClock, onListening: listening.resolve, onProblem: listening.reject },
  );
  onTestFinished(async () => listener[Symbol.asyncDispose]());
  const port = await listening.promise;
  const idle = Array.from({ length: 100 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  onTestFinished(() => {
    for (const connection of idle) connection.destroy();
  });
  await Promise.all(idle.map((connection) => once(connection, 'connect')));
  for (let times = 0; times < 5; times++) {
    const outgoing = request({ host: '127.0.0.1', port, path: '/metrics', agent: false }).end();
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    answer.resume();
    expect(answer.statusCode).toBe(200);
  }
  // Those that gave way are gone, the others stay.
  await expect.poll(() => idle.filter(({ closed }) => !closed).length).toBeLessThanOrEqual(32);
});
