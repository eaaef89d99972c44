import { expect, test } from 'vitest';

import { startTestImds } from '../support/mock-imds.ts';
import { ask, askEvents, deadline } from './support.ts';

function post(url: string, ...ids: string[]) {
  const body = JSON.stringify({ StartRequests: ids.map((EventId) => ({ EventId })) });
  return ask(url, '/metadata/scheduledevents?api-version=2020-07-01', { method: 'POST', body });
}

test('announces a Preempt in the documented form', async () => {
  await using mock = await startTestImds({ vm: { name: 'fleet_2' } });
  const { id } = mock.addEvent({ notBefore: '30s', resources: ['self', 'fleet_9'] });
  const { Events, headers } = await askEvents(mock.url);
  expect(Events).toEqual([
    {
      EventId: id,
      EventStatus: 'Scheduled',
      EventType: 'Preempt',
      ResourceType: 'VirtualMachine',
      Resources: ['fleet_2', 'fleet_9'],
      NotBefore: expect.stringMatching(/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/) as unknown,
      Description: '',
      EventSource: 'Platform',
      DurationInSeconds: -1,
    },
  ]);
  const windowMs = Date.parse(String(Events[0]?.['NotBefore'])) - Date.parse(String(headers['date']));
  expect(windowMs).toBeGreaterThanOrEqual(30_000);
  expect(windowMs).toBeLessThanOrEqual(31_000);
});

test('the incarnation grows with the array and with nothing else', async () => {
  await using mock = await startTestImds({ service: { startAfterAck: '1h' } });
  const incarnation = async () => (await askEvents(mock.url)).DocumentIncarnation;
  const first = await incarnation();
  expect(await incarnation()).toBe(first);
  const { id } = mock.addEvent();
  expect(await incarnation()).toBe(first + 1);
  expect((await post(mock.url, id)).status).toBe(200);
  expect(await incarnation()).toBe(first + 1);
  mock.withdraw(id);
  expect(await incarnation()).toBe(first + 2);
  mock.setIncarnation(1);
  expect(await incarnation()).toBe(1);
});

test('an acknowledged event starts, with an empty NotBefore and the same id, and is gone later', async () => {
  await using mock = await startTestImds({ service: { startAfterAck: '1ms', startedFor: '300ms' } });
  const { id } = mock.addEvent({ notBefore: '1h' });
  expect((await post(mock.url, id)).status).toBe(200);
  await mock.waitFor(() => mock.state().events[0]?.status === 'Started', deadline());
  expect((await askEvents(mock.url)).Events).toMatchObject([
    { EventId: id, EventStatus: 'Started', NotBefore: '' },
  ]);
  await mock.waitFor(() => mock.state().events.length === 0, deadline());
  expect((await askEvents(mock.url)).Events).toEqual([]);
  // A late or repeated approval is still one of a known event.
  expect((await post(mock.url, id.toLowerCase())).status).toBe(200);
});

test('without an acknowledgement it starts at NotBefore', async () => {
  await using mock = await startTestImds();
  const { notBefore } = mock.addEvent({ notBefore: '100ms' });
  await mock.waitFor(() => mock.state().events[0]?.status === 'Started', deadline());
  expect(Date.now()).toBeGreaterThanOrEqual(notBefore - 5);
});

test('an acknowledgement never puts the start off', async () => {
  await using mock = await startTestImds({ service: { startAfterAck: '1h' } });
  const { id } = mock.addEvent({ notBefore: '100ms' });
  await post(mock.url, id);
  await mock.waitFor(() => mock.state().events[0]?.status === 'Started', deadline());
  expect(mock.state().events).toMatchObject([{ id, approved: true }]);
});

test('one post may approve several events, each is noted', async () => {
  await using mock = await startTestImds();
  const ids = [mock.addEvent({ notBefore: '1h' }).id, mock.addEvent({ notBefore: '1h', type: 'Reboot' }).id];
  expect((await post(mock.url, ...ids)).status).toBe(200);
  expect(mock.acks().map(({ eventId }) => eventId)).toEqual(ids);
  expect(await mock.waitForAck(ids[1] ?? '', deadline())).toMatchObject({ known: true });
});

test('can be Started without having been Scheduled, and stay Scheduled in the past', async () => {
  await using mock = await startTestImds();
  mock.addEvent({ id: 'E1', type: 'Reboot', status: 'Started' });
  mock.addEvent({ id: 'E2', notBefore: '-1h', autoStart: false });
  mock.addEvent({
    id: 'E3',
    notBefore: '1h',
    override: { NotBefore: 'soon', Extra: 1 },
    omit: ['Description'],
  });
  const { Events } = await askEvents(mock.url);
  expect(Events[0]).toMatchObject({ EventId: 'E1', EventStatus: 'Started', NotBefore: '' });
  expect(Events[1]).toMatchObject({ EventId: 'E2', EventStatus: 'Scheduled' });
  expect(Date.parse(String(Events[1]?.['NotBefore']))).toBeLessThan(Date.now());
  expect(Events[2]).toMatchObject({ EventId: 'E3', NotBefore: 'soon', Extra: 1 });
  expect(Events[2]).not.toHaveProperty('Description');
});

test('shows each version what it knows', async () => {
  await using mock = await startTestImds();
  mock.addEvent({ type: 'SpotRebalanceRecommendation' });
  mock.addEvent({ type: 'Terminate' });
  const types = async (version: string) =>
    (await askEvents(mock.url, version)).Events.map((each) => each['EventType']);
  expect(await types('2024-07-09')).toEqual(['SpotRebalanceRecommendation', 'Terminate']);
  expect(await types('2020-07-01')).toEqual(['Terminate']);
  expect(await types('2017-11-01')).toEqual([]);
  const [old] = (await askEvents(mock.url, '2019-01-01')).Events;
  expect(old).not.toHaveProperty('EventSource');
  expect(old).not.toHaveProperty('DurationInSeconds');
});

test('refuses a second event of one id', async () => {
  await using mock = await startTestImds();
  mock.addEvent({ id: 'E1' });
  expect(() => mock.addEvent({ id: 'e1' })).toThrow(expect.objectContaining({ code: 'duplicate-event' }));
});

test('gives the first answer only when the service is enabled', async () => {
  await using mock = await startTestImds({ service: { firstAnswerDelay: '3s' } });
  expect(
    (await ask(mock.url, '/metadata/instance/compute/name?api-version=2021-02-01&format=text')).text,
  ).toBe('fleet_0');
  const startedAt = performance.now();
  const both = await Promise.all([askEvents(mock.url), askEvents(mock.url)]);
  expect(performance.now() - startedAt).toBeGreaterThan(2990);
  expect(both.map(({ status }) => status)).toEqual([200, 200]);
  const again = performance.now();
  await askEvents(mock.url);
  expect(performance.now() - again).toBeLessThan(2990);
});
