import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { QueueClient, StorageSharedKeyCredential } from '@azure/storage-queue';
import { describe, expect, it, onTestFinished } from 'vitest';
import * as z from 'zod';

import { AZURITE_ACCOUNT, AZURITE_KEY, startAzurite } from '../support/azurite.ts';
import { createMachine } from '../support/daemon.ts';
import { PROCESS_TEST_MS } from '../support/evictd-process.ts';
import { startHttpReceiver } from '../support/http-receiver.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { createSpotVm } from '../support/spot-vm.ts';
import { stopHook } from './support.ts';

/** `notify` for webhooks whose URLs are in files of the folder, all with the template `cloudevents`. */
async function webhooks(folder: string, urls: Readonly<Record<string, string>>): Promise<string> {
  const entries = Object.entries(urls).map(async ([name, url]) => {
    const file = join(folder, `${name}-url`);
    await writeFile(file, `${url}\n`, { mode: 0o600 });
    return `{ name: ${name}, webhook: { url-file: ${file} } }`;
  });
  return `notify: [${(await Promise.all(entries)).join(', ')}]\n`;
}

const CloudEvent = z.object({ id: z.string(), type: z.string() });

function told(bodies: readonly string[]): { readonly id: string; readonly type: string }[] {
  return bodies.map((body) => CloudEvent.parse(JSON.parse(body)));
}

function kinds(requests: readonly { readonly body: string }[]): string[] {
  return told(requests.map(({ body }) => body)).map(({ type }) => type);
}

const isNotified = (notification: string, kind: string) => (line: Readonly<Record<string, unknown>>) =>
  line['msg'] === 'notified' && line['notification'] === notification && line['kind'] === kind;

describe.concurrent('notifications', () => {
  it('come once at the notice and once with the outcome; what can not be reached holds nothing up', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using good = await startHttpReceiver();
    await using bad = await startHttpReceiver();
    bad.answerWith('hang', 'hang', 'hang', 'hang', 'hang', 'hang');
    const notify = await webhooks(machine.folder, { good: good.url, bad: `${bad.url}/T0/secret` });
    const config = notify + stopHook(await machine.hook('stop'));
    await using daemon = await machine.start({ imds: imds.url, config });
    const { id } = imds.addEvent({ autoStart: false });
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    await daemon.waitForLog(isNotified('good', 'outcome'));
    expect(imds.acks()).toHaveLength(1);
    expect(kinds(good.requests)).toEqual(['evictd.notice', 'evictd.outcome']);
    expect(JSON.parse(good.requests[1]?.body ?? '')).toMatchObject({
      subject: id,
      data: { vmName: imds.vmName, outcome: 'success', failures: [], event: { EventType: 'Preempt' } },
    });
    await daemon.stop();
    expect(JSON.stringify(daemon.lines)).not.toContain('T0/secret');
  });

  it('say in the log what is wrong with the address', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using receiver = await startHttpReceiver();
    receiver.answerWith(404, 404);
    const notify = await webhooks(machine.folder, { ops: receiver.url, none: 'not a URL' });
    await using daemon = await machine.start({ imds: imds.url, config: notify });
    imds.addEvent();
    const refused = await daemon.waitForLog((line) => line['code'] === 'http-refused');
    expect(refused['detail']).toBe(`the webhook of ${join(machine.folder, 'ops-url')} answered 404`);
    const wrong = await daemon.waitForLog((line) => line['code'] === 'bad-credential');
    expect(wrong['detail']).toBe(`${join(machine.folder, 'none-url')} holds no http or https URL`);
  });
});

describe('notifications of a daemon that is killed in the middle', () => {
  it(
    'come exactly once, to a webhook and to a queue',
    async () => {
      await using azurite = await startAzurite({ service: 'queue' });
      await using receiver = await startHttpReceiver();
      const url = azurite.containerUrl('requeue');
      const queue = new QueueClient(url, new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY));
      await queue.create();
      // The queue takes the credential of the checkpoint store, which itself is never reached here.
      const folder = await mkdtemp(join(tmpdir(), 'evictd-notify-'));
      onTestFinished(() => rm(folder, { recursive: true, force: true }));
      const urlFile = join(folder, 'ops-url');
      await writeFile(urlFile, receiver.url, { mode: 0o600 });
      const store = { url: 'http://127.0.0.1:9/devstoreaccount1/none', auth: { kind: 'azurite' as const } };
      await using vm = await createSpotVm({
        store,
        hooks: [{ name: 'stop', script: 'until [ -e "$0.go" ]; do sleep 0.05; done' }],
        config: {
          checkpoint: { store, sets: [], background: false },
          notify: [
            { name: 'ops', webhook: { 'url-file': urlFile } },
            { name: 'requeue', storageQueue: { url } },
          ],
        },
      });
      const first = await vm.start();
      await first.line('identified');
      vm.preempt();
      await first.line('notified', { notification: 'ops', kind: 'notice' });
      await first.line('notified', { notification: 'requeue', kind: 'notice' });
      await first.kill();
      const second = await vm.start();
      await second.line('drain-resumed');
      await writeFile(join(vm.folder, 'stop.go'), '');
      await second.line('notified', { notification: 'ops', kind: 'outcome' });
      await second.line('notified', { notification: 'requeue', kind: 'outcome' });
      await second.stop();
      expect(kinds(receiver.requests)).toEqual(['evictd.notice', 'evictd.outcome']);
      const { receivedMessageItems } = await queue.receiveMessages({ numberOfMessages: 32 });
      const inQueue = told(receivedMessageItems.map(({ messageText }) => messageText));
      expect(inQueue).toHaveLength(2);
      // The same two, with the same ids.
      expect(new Set(inQueue.map(({ id }) => id))).toEqual(
        new Set(told(receiver.requests.map(({ body }) => body)).map(({ id }) => id)),
      );
    },
    PROCESS_TEST_MS,
  );
});
