import type { FaultInput } from '../../src/mock/schema.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { describeMetadataClient } from './client-contract.ts';
import { HOSTILE_ANSWERS } from './hostile-answers.ts';
import { type Act, startHostileServer } from './hostile-server.ts';

describeMetadataClient<Act>(
  'on a service that speaks bytes',
  async () => {
    const server = await startHostileServer();
    return { ...server, trouble: (act, _method, times) => server.misbehave(act, times) };
  },
  HOSTILE_ANSWERS,
);

describeMetadataClient<FaultInput>(
  'on the mock',
  async () => {
    const mock = await startTestImds();
    return {
      url: mock.url,
      requests: () => mock.requests().length,
      trouble: (fault, method, count) =>
        mock.fault({ ...fault, count, on: method === 'GET' ? 'events' : 'ack' }),
      [Symbol.asyncDispose]: () => mock.close(),
    };
  },
  [
    { name: 'none', how: { kind: 'hang' }, outcomes: ['imds-timeout'] },
    { name: 'one that is too slow', how: { kind: 'slow', delay: '30s' }, outcomes: ['imds-timeout'] },
    { name: 'none, but a reset', how: { kind: 'reset' }, outcomes: ['imds-unreachable'] },
    { name: 'a reset in the middle', how: { kind: 'reset', after: 'body' }, outcomes: ['imds-unreachable'] },
    { name: '2 MiB', how: { kind: 'huge' }, outcomes: ['imds-too-large'] },
    { name: 'an empty body', how: { kind: 'empty' }, outcomes: ['imds-empty'] },
    { name: 'a page of HTML', how: { kind: 'html' }, outcomes: ['imds-not-json'] },
    { name: 'half a document', how: { kind: 'truncated' }, outcomes: ['imds-not-json'] },
    { name: 'a redirect', how: { kind: 'redirect', to: 'http://127.0.0.1:9/' }, outcomes: ['imds-redirect'] },
    { name: '304', how: { kind: 'status', status: 304 }, outcomes: ['imds-redirect'] },
    { name: '400', how: { kind: 'status', status: 400 }, outcomes: ['imds-refused'] },
    { name: '404', how: { kind: 'status', status: 404 }, outcomes: ['imds-not-found'] },
    { name: '410', how: { kind: 'status', status: 410 }, outcomes: ['imds-updating'] },
    { name: '429', how: { kind: 'status', status: 429 }, outcomes: ['imds-throttled'] },
    { name: '500', how: { kind: 'status', status: 500 }, outcomes: ['imds-server-error'] },
    { name: '503', how: { kind: 'status', status: 503 }, outcomes: ['imds-server-error'] },
  ],
);
