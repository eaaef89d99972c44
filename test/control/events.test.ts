import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { type EventHub, type EventStream, createEventHub } from '../../src/control/event-hub.ts';
import { readEvents } from '../../src/control/event-stream.ts';
import { startControlServer } from '../../src/control/server.ts';
import { connectClient } from '../support/control-client.ts';

const HELLO = { version: 1, evictdVersion: '1', phase: 'watching' } as const;

/** `registered` hears of each hook's stream. */
async function serve(
  registered: (stream: EventStream) => void = () => undefined,
): Promise<{ socket: string; hub: EventHub }> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-events-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const socket = join(folder, 'evictd.sock');
  const hub = createEventHub({ clock: systemClock });
  const server = await startControlServer(
    { socket, group: 'no-such-group' },
    {
      status: () => ({}),
      checkpoint: async () => ({}),
      hello: () => HELLO,
      register({ name }, stream) {
        registered(stream);
        return { name };
      },
      done: () => undefined,
    },
    hub,
  );
  onTestFinished(() => server.close());
  return { socket, hub };
}

/** One turn of the event loop, in which sockets are written and read. */
function turn(): Promise<false> {
  return new Promise((resolve) => void setImmediate(() => resolve(false)));
}

describe('an event stream', () => {
  it('begins with what is so now, and has everything in order', async () => {
    const { socket, hub } = await serve();
    const client = connectClient(socket);
    expect(await client.event('hello')).toEqual({ event: 'hello', data: HELLO });
    for (let n = 0; n < 100; n++) hub.broadcast('phase', { n, text: 'line\nbreak \u2028 ü' });
    await client.event('phase', (data) => (data as { n: number }).n === 99);
    const numbers = client.events.slice(1).map(({ data }) => (data as { n: number }).n);
    expect(numbers).toEqual(Array.from({ length: 100 }, (_, n) => n));
  });

  it('has ids that differ, in a form that other clients understand', async () => {
    const { socket, hub } = await serve();
    const connection = connect(socket, () => connection.write('GET /v1/events HTTP/1.0\r\n\r\n'));
    onTestFinished(() => void connection.destroy());
    let text = '';
    connection.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    while (!text.includes('hello')) await turn();
    hub.broadcast('resume', { eventId: 'E1' });
    while (!text.includes('resume')) await turn();
    expect(text).toMatch(/content-type: text\/event-stream\r\n/);
    expect(text).toMatch(
      /id: (\w+)-1\nevent: hello\ndata: \{.*\}\n\nid: \1-2\nevent: resume\ndata: \{.*\}\n\n/,
    );
  });

  it('of a client that does not read is cut, and with it goes its hook; others go on', async () => {
    const cut = Promise.withResolvers<void>();
    const { socket, hub } = await serve((stream) => stream.onClose(() => cut.resolve()));
    const slow = connect(socket, () => {
      slow.pause();
      const body = '{"name":"slow"}';
      slow.write(`POST /v1/hooks HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    });
    onTestFinished(() => void slow.destroy());
    slow.on('error', () => undefined);
    const client = connectClient(socket);
    await client.event('hello');
    const isCut = cut.promise.then(() => true);
    const block = 'x'.repeat(1000);
    let sent = 0;
    // Far more than it takes.
    while (sent < 20_000 && !(await Promise.race([isCut, turn()]))) {
      hub.broadcast('phase', { sent: sent++, block });
    }
    expect(await Promise.race([isCut, turn()])).toBe(true);
    // What the kernel holds, and what is allowed beside it.
    expect(sent).toBeLessThan(2000);
    hub.broadcast('resume', {});
    await client.event('resume');
    expect(client.events.filter(({ event }) => event === 'phase')).toHaveLength(sent);
  });

  it('is refused when there are too many, and there is still room for questions', async () => {
    const { socket } = await serve();
    const clients = Array.from({ length: 128 }, () => connectClient(socket));
    await Promise.all(clients.map((client) => client.event('hello')));
    expect(await connectClient(socket).ended).toMatchObject({ code: 'too-many' });
    clients[0]?.die();
    await clients[0]?.ended;
    await connectClient(socket).event('hello');
  });
});

describe('a registration', () => {
  const bad: [string, Readonly<Record<string, unknown>>, RegExp][] = [
    ['no name', {}, /^name: /],
    ['a name with a slash', { name: 'a/b' }, /^name: /],
    ['an unknown stage', { name: 'a', stage: 'later' }, /^stage: .*before-checkpoint/],
    ['a timeout without a unit', { name: 'a', timeout: '10' }, /^timeout: .*8s/],
    ['a timeout that is too long', { name: 'a', timeout: '2h' }, /^timeout: .*1 h/],
    ['an order that is no number', { name: 'a', order: 'x' }, /^order: /],
    ['an unknown member', { name: 'a', user: 'root' }, /user/],
  ];
  it.for(bad)('is refused in words: %s', async ([, registration, message]) => {
    const { socket } = await serve();
    expect(await connectClient(socket, registration).ended).toMatchObject({
      code: 'bad-request',
      message: expect.stringMatching(message),
    });
  });
});

it('a refusal without an end is read no further than an answer may be long', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-events-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const socket = join(folder, 'evictd.sock');
  const server = createServer((connection) => {
    connection.on('error', () => undefined);
    connection.write('HTTP/1.1 409 Conflict\r\n\r\n');
    const go = () => {
      while (!connection.destroyed && connection.write('x'.repeat(65_536)));
    };
    connection.on('drain', go);
    go();
  });
  server.listen(socket);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const reading = readEvents(socket, { method: 'GET', path: '/v1/events' }, AbortSignal.timeout(20_000));
  await expect(reading.next()).rejects.toMatchObject({ code: 'too-large' });
});
