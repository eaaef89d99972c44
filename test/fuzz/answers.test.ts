import { connect } from 'node:net';
import { join } from 'node:path';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createAzureStore } from '../../src/checkpoint/store/azure/azure-store.ts';
import type { BlobStore } from '../../src/checkpoint/store/store.ts';
import { askDaemon } from '../../src/control/client.ts';
import { createInstanceClient } from '../../src/imds/instance.ts';
import { AZURITE_KEY } from '../support/azurite.ts';
import { startIdleControl } from '../support/idle-control.ts';
import { testFolder } from '../support/file-tree.ts';
import { byteServer, http } from './byte-server.ts';
import { fuzz, mutated, RUNS } from './fuzz.ts';

vi.setConfig({ testTimeout: 120_000 });

/** Fewer than of pure parsers: each case is a connection, and some wait for their time to be up. */
const ANSWERS = Math.ceil(RUNS / 5);
const TRY_MS = 300;

const MS = [
  'x-ms-request-id: 1',
  'x-ms-version: 2021-08-06',
  'etag: "0x1"',
  'last-modified: Mon, 19 Sep 2016 18:29:47 GMT',
];
const LIST =
  '<?xml version="1.0"?><EnumerationResults ContainerName="c"><Blobs><Blob><Name>a</Name><Properties><Etag>0x1</Etag>' +
  '<Last-Modified>Mon, 19 Sep 2016 18:29:47 GMT</Last-Modified><Content-Length>1</Content-Length></Properties></Blob></Blobs>' +
  '<NextMarker/></EnumerationResults>';
const ENTITIES = Array.from({ length: 12 }, (_, n) => `<!ENTITY e${n + 1} "${`&e${n};`.repeat(10)}">`).join(
  '',
);
const BOMB = `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "lol">${ENTITIES}]><Error><Code>&e12;</Code></Error>`;
const ZEROS = Buffer.alloc(64 * 1024 ** 2);

function zipped(encoding: string, body: Buffer): Buffer {
  const head = ['HTTP/1.1 200 OK', ...MS, `content-encoding: ${encoding}`, `content-length: ${body.length}`];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]);
}

const blobAnswers = fc.oneof(
  mutated(
    http('200 OK', ['content-type: application/xml', ...MS], LIST),
    http('201 Created', MS, ''),
    http('409 Conflict', ['x-ms-error-code: BlobAlreadyExists', ...MS], ''),
    http('403 Forbidden', ['x-ms-error-code: AuthenticationFailed', ...MS], BOMB),
    http('404 Not Found', MS, '<html><body>not here</body></html>'),
    http('206 Partial Content', ['content-range: bytes 0-0/1', ...MS], 'x'),
  ),
  fc.constantFrom(
    zipped('gzip', gzipSync(ZEROS)),
    zipped('deflate', deflateSync(ZEROS)),
    zipped('br', brotliCompressSync(ZEROS.subarray(0, 16 * 1024 ** 2))),
    Buffer.from(http('400 Bad Request', MS, BOMB)),
    Buffer.from(http('302 Found', ['location: http://169.254.169.254/', ...MS], '')),
    Buffer.from(`HTTP/1.1 200 OK\r\n${'x-a: b\r\n'.repeat(50_000)}\r\n`),
    Buffer.from('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx'),
    Buffer.alloc(0),
  ),
);

test('the Blob service: whatever it answers, an error in time and without the key', async () => {
  await using server = await byteServer();
  const store = await createAzureStore(
    {
      url: `${server.origin}/devstoreaccount1/work`,
      auth: { kind: 'azurite' },
      limits: { triesMax: 1, throttledTriesMax: 1 },
    },
    { clock: systemClock },
  );
  const calls: readonly ((store: BlobStore, signal: AbortSignal) => Promise<unknown>)[] = [
    (one, signal) => one.list('a', {}, signal),
    (one, signal) => one.folders('a/', {}, signal),
    (one, signal) => one.read('a', { bytesMax: 1000 }, signal),
    (one, signal) => one.read('a', { bytesMax: 1, range: { offset: 0, count: 1 } }, signal),
    (one, signal) => one.create('a', Buffer.from('x'), { contentType: 'text/plain' }, signal),
    (one, signal) => one.remove('a', signal),
  ];
  const rssBefore = process.memoryUsage.rss();
  const cases = fc.tuple(blobAnswers, fc.constantFrom(...calls));
  await fuzz(
    cases,
    async ([answer, call]) => {
      server.say(answer);
      return call(store, AbortSignal.timeout(TRY_MS)).catch((error: unknown) => {
        expect(String(error)).not.toContain(AZURITE_KEY);
        throw error;
      });
    },
    undefined,
    ANSWERS,
  );
  await store.close();
  // All bombs unpacked at once would be gigabytes.
  expect(process.memoryUsage.rss() - rssBefore).toBeLessThan(400 * 1024 ** 2);
});

test('the metadata service on the level of bytes', async () => {
  await using server = await byteServer();
  const json = ['content-type: application/json', 'date: Mon, 19 Sep 2016 18:29:47 GMT'];
  const answers = fc.oneof(
    mutated(
      http('200 OK', json, '{"DocumentIncarnation":1,"Events":[]}'),
      http('200 OK', json, '{"name":"fleet_2","vmId":"x","tagsList":[{"name":"a","value":"b"}]}'),
      http('429 Too Many Requests', ['retry-after: 1'], ''),
    ),
    fc.constantFrom(zipped('gzip', gzipSync(ZEROS)), Buffer.from('HTTP/1.1 200 OK\r\n\r\n'), Buffer.alloc(0)),
  );
  const options = { endpoint: server.origin, timeoutMs: TRY_MS };
  const instance = createInstanceClient(options, { clock: systemClock });
  const cases = await fuzz(
    answers,
    async (answer) => {
      server.say(answer);
      return instance.get(AbortSignal.timeout(TRY_MS));
    },
    ({ name }) => expect(name).not.toBe(''),
    ANSWERS,
  );
  await instance.close();
  expect(cases).toBe(ANSWERS);
});

test('the control socket: whatever a client sends, the next one is answered', async () => {
  await using folder = await testFolder();
  const socket = join(folder.path, 'evictd.sock');
  const server = await startIdleControl(socket);
  const registration = JSON.stringify({ name: 'x', stage: 'before-checkpoint', timeout: '10s' });
  const requests = mutated(
    http('x', [], '').replace('HTTP/1.1 x', 'GET /v1/status HTTP/1.1\r\nhost: x'),
    http('x', [], registration).replace('HTTP/1.1 x', 'POST /v1/hooks HTTP/1.1\r\nhost: x'),
    http('x', [], '{"ok":true}').replace('HTTP/1.1 x', 'POST /v1/hooks/1/done HTTP/1.1\r\nhost: x'),
    http('x', [], '{"set":"job"}').replace('HTTP/1.1 x', 'POST /v1/checkpoint HTTP/1.1\r\nhost: x'),
  );
  const question = { body: undefined, timeoutMs: 5000, signal: AbortSignal.timeout(100_000) };
  await fuzz(
    requests,
    async (bytes) => {
      const client = connect(socket);
      client.on('error', () => client.destroy());
      client.end(bytes);
      client.resume();
      const answer = await askDaemon(socket, 'GET', '/v1/status', question);
      client.destroy();
      return answer;
    },
    (answer) => expect(answer).toEqual({ phase: 'watching' }),
  );
  await server.close();
});
