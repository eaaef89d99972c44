import { http, HttpResponse } from 'msw';
import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createInstanceClient } from '../../src/imds/instance.ts';
import { createScheduledEventsClient } from '../../src/imds/scheduled-events.ts';
import { mockNetwork } from '../support/msw-network.ts';
import { deadline } from './support.ts';

/*
 * The metadata service at its own address, which no server here can have. It refuses what it can't tell from a request
 * that somebody else's proxy passed on.
 * Source: learn.microsoft.com/azure/virtual-machines/instance-metadata-service ("Security", "Errors and debugging")
 */

const ENDPOINT = 'http://169.254.169.254';

function refusal(request: Request): string | undefined {
  const { headers, url } = request;
  const names = [...new URL(url).searchParams.keys()];
  if (headers.get('metadata')?.toLowerCase() !== 'true') return 'Required metadata header not specified';
  if (headers.has('x-forwarded-for')) return 'X-Forwarded-For is not allowed';
  if (headers.get('host') !== '169.254.169.254') return 'the Host header names somebody else';
  return new Set(names).size === names.length ? undefined : 'Duplicate query parameter';
}

function answering(path: string, answer: (version: string | null) => unknown) {
  return http.get(`${ENDPOINT}/metadata/${path}`, ({ request }) => {
    const error = refusal(request);
    if (error !== undefined) return HttpResponse.json({ error }, { status: 400 });
    return HttpResponse.json(answer(new URL(request.url).searchParams.get('api-version')) as object);
  });
}

test('events and the VM are asked for as the service demands', async () => {
  const document = {
    DocumentIncarnation: 2,
    Events: [
      {
        EventId: 'C1BF8322-4CBF-4FC4-9C45-B40CF3106D0E',
        EventStatus: 'Scheduled',
        EventType: 'Preempt',
        ResourceType: 'VirtualMachine',
        Resources: ['vm-spot'],
        NotBefore: 'Tue, 09 Aug 2022 17:07:32 GMT',
        Description: '',
        EventSource: 'Platform',
        DurationInSeconds: -1,
      },
    ],
  };
  using _network = mockNetwork(
    answering('scheduledevents', (version) => (version === '2020-07-01' ? document : {})),
    answering('instance/compute', () => ({ name: 'vm-spot', vmId: 'x', priority: 'Spot' })),
    http.post(`${ENDPOINT}/metadata/scheduledevents`, async ({ request }) => {
      const error = refusal(request);
      const { StartRequests: asked } = (await request.json()) as { StartRequests?: unknown };
      const isGood = error === undefined && JSON.stringify(asked) === '[{"EventId":"C1"}]';
      return new HttpResponse(null, { status: isGood ? 200 : 400 });
    }),
  );
  const events = createScheduledEventsClient(
    { endpoint: ENDPOINT, apiVersion: '2020-07-01' },
    { clock: systemClock },
  );
  const instance = createInstanceClient({ endpoint: ENDPOINT, timeoutMs: 5000 }, { clock: systemClock });
  const { document: found } = await events.get(5000, deadline());
  expect(found.events).toMatchObject([{ type: 'Preempt', resources: ['vm-spot'] }]);
  expect(await instance.get(deadline())).toMatchObject({ name: 'vm-spot', priority: 'Spot' });
  expect(await events.acknowledge('C1', deadline())).toEqual({ kind: 'accepted' });
  await Promise.all([events.close(), instance.close()]);
});
