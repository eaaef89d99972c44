import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createManagedIdentityFetcher } from '../../src/checkpoint/store/azure/identity.ts';
import { createTokenSource } from '../../src/checkpoint/store/azure/token.ts';
import { identityAnswer } from '../support/identity-answer.ts';
import { byteServer, http } from './byte-server.ts';
import { RUNS, fuzz, mutated } from './fuzz.ts';

vi.setConfig({ testTimeout: 120_000 });

/** Each starts a thread and loads the SDK in it. */
const ANSWERS = Math.ceil(RUNS / 25);
const ATTEMPT_MS = 3000;
const MIB = 1024 ** 2;
const SECRET = 'c2VjcmV0.dG9rZW4.c2ln';
const NOW_SECONDS = Math.floor(systemClock.wallMs() / 1000);
const JSON_HEADERS = ['content-type: application/json', 'connection: close'];
const TOKEN = identityAnswer(SECRET, NOW_SECONDS);
const good = (change: Readonly<Record<string, unknown>> = {}) =>
  http('200 OK', JSON_HEADERS, JSON.stringify({ ...TOKEN, ...change }));

/** As other services write it, or as nobody does. */
const expiry = fc.constantFrom<unknown>(
  undefined,
  null,
  NOW_SECONDS + 86_400,
  NOW_SECONDS - 3600,
  String(NOW_SECONDS - 3600),
  '0',
  '-1',
  '99999999999999999999',
  'soon',
  '',
  '2026-11-23T00:00:00Z',
  '11/23/2026 1:02:03 AM +00:00',
  1e308,
  {},
  [],
);
const accessToken = fc.constantFrom<unknown>(
  SECRET,
  '',
  ' ',
  5,
  null,
  [],
  {},
  `${SECRET}\r\nx-evil: 1`,
  `${SECRET}\0`,
  'ü',
  'x'.repeat(MIB),
);

const answers = (elsewhere: string) =>
  fc.oneof(
    mutated(good(), good({ expires_on: undefined })),
    fc
      .record({ access_token: accessToken, expires_on: expiry, expires_in: expiry })
      .map((change) => Buffer.from(good(change))),
    fc.constantFrom(
      Buffer.alloc(0),
      Buffer.from(http('200 OK', JSON_HEADERS, '')),
      Buffer.from(http('200 OK', ['content-type: text/html'], `<html>${SECRET}</html>`)),
      Buffer.from(http('200 OK', JSON_HEADERS, good().padEnd(20 * MIB))),
      Buffer.from(http('302 Found', [`location: ${elsewhere}/metadata/identity/oauth2/token`], '')),
      Buffer.from(http('307 Temporary Redirect', [`location: ${elsewhere}/`], '')),
      Buffer.from(
        http('400 Bad Request', JSON_HEADERS, `{"error":"invalid_request","error_description":"${SECRET}"}`),
      ),
      Buffer.from(http('500 Internal Server Error', ['retry-after: 3600'], SECRET)),
      Buffer.from(
        http('200 OK', [...JSON_HEADERS, 'content-encoding: gzip'], gzipSync(JSON.stringify(TOKEN))),
      ),
    ),
  );

test('the identity endpoint: a token that can be used, or no-token without a word of the answer', async () => {
  await using server = await byteServer();
  await using elsewhere = await byteServer();
  elsewhere.say(Buffer.from(good()));
  let identities = 0;
  await fuzz(
    answers(elsewhere.origin),
    async (answer) => {
      server.say(answer);
      const identity = { clientId: `fuzz-${++identities}`, endpoint: server.origin, limitMs: ATTEMPT_MS };
      const fetcher = createManagedIdentityFetcher(identity, { clock: systemClock });
      const options = { attemptMs: ATTEMPT_MS, renewEveryMs: 60_000 };
      const tokens = createTokenSource(options, { clock: systemClock, fetcher });
      try {
        return { token: await tokens.token(AbortSignal.timeout(2 * ATTEMPT_MS)), kept: tokens.current() };
      } catch (error) {
        expect(error).toMatchObject({ code: 'no-token' });
        expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(SECRET);
        throw error;
      }
    },
    ({ token, kept }) => {
      expect(token).toMatch(/^[\x21-\x7e]+$/);
      expect(kept).toBe(token);
    },
    ANSWERS,
  );
  expect(elsewhere.asked()).toBe(0);
});
