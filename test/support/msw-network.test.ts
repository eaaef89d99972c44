import { http, HttpResponse } from 'msw';
import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createHttpClient } from '../../src/base/http.ts';
import { mockNetwork } from './msw-network.ts';

const OPTIONS = { connectionsMax: 1, connectMs: 5000, idleMs: 5000, bodyBytesMax: 1000 };
const QUESTION = { method: 'PUT', path: '/a', headers: {}, body: 'x' } as const;

async function ask(origin: string) {
  const client = createHttpClient({ origin, ...OPTIONS }, { clock: systemClock });
  try {
    return await client.ask(QUESTION, AbortSignal.timeout(5000));
  } finally {
    await client.close();
  }
}

test('undici gets the answers of the handlers, over http and https', async () => {
  using _network = mockNetwork(
    http.put('*://a.example/a', async ({ request }) => HttpResponse.text(`got ${await request.text()}`)),
  );
  for (const origin of ['http://a.example', 'https://a.example'])
    expect(String((await ask(origin)).body)).toBe('got x');
});

test('what no handler takes fails, and is told at the end', async () => {
  const network = mockNetwork();
  await expect(ask('https://b.example')).rejects.toThrow();
  expect(() => network[Symbol.dispose]()).toThrow('no handler takes PUT https://b.example/a');
});
