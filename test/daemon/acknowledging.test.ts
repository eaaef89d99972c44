import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { Azurite } from '../support/azurite.ts';
import { startAzurite } from '../support/azurite.ts';
import { createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls, soon, stopHook } from './support.ts';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

describe.concurrent('the acknowledgement', () => {
  it('is the last thing: after the hooks, the checkpoint, the hooks after it, and the report', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const before = await machine.hook('before');
    const after = await machine.hook('after');
    const data = join(machine.folder, 'data');
    await mkdir(data);
    await writeFile(join(data, 'weights.bin'), 'as good as trained');
    const url = azurite.containerUrl();
    await using daemon = await machine.start({
      imds: imds.url,
      config: `hooks:
  - { name: before, run: [${before}] }
  - { name: after, stage: after-checkpoint, run: [${after}] }
checkpoint:
  store: { url: "${url}", auth: { kind: azurite } }
  key: line
  sets: [{ name: job, path: ${data} }]
`,
    });
    const seenAtAck: string[] = [];
    using _ = imds.subscribe((activity) => {
      if (activity.kind !== 'ack') return;
      for (const { code, hook, result, phase } of daemon.lines) {
        const what = [code, hook ?? phase ?? result].filter((part) => typeof part === 'string').join(' ');
        if (/^(?:hook-ended|set-ended|phase)/.test(what)) seenAtAck.push(what);
      }
    });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    expect(seenAtAck).toEqual([
      'hook-ended before',
      'phase checkpoint',
      'set-ended committed',
      'phase after-checkpoint',
      'hook-ended after',
      'phase report',
      'phase ack',
    ]);
    expect(imds.acks()).toHaveLength(1);
    const status = await daemon.status();
    expect(status).toMatchObject({
      phase: 'waiting',
      store: { ready: true },
      events: [{ id, ack: 'accepted' }],
      sets: [{ name: 'job', files: 1, bytes: 18, bytesStored: 18 }],
    });
  });

  it('is withheld when a required hook fails, with the reason, and the checkpoint is taken all the same', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const hook = await machine.hook('stop', 'exit 3');
    const data = join(machine.folder, 'data');
    await mkdir(data);
    await writeFile(join(data, 'state'), 'kept');
    const url = azurite.containerUrl();
    await using daemon = await machine.start({
      imds: imds.url,
      config: `${stopHook(hook)}
checkpoint: { store: { url: "${url}", auth: { kind: azurite } }, sets: [{ name: job, path: ${data} }] }`,
    });
    imds.addEvent();
    expect(await daemon.waitForLog(isNote('ack-withheld'))).toMatchObject({
      reason: 'unsuccessful',
      level: 'error',
    });
    expect(await daemon.waitForLog(isNote('hook-ended'))).toMatchObject({ level: 'error', reason: 'exit' });
    expect(daemon.logged(isNote('set-ended', { result: 'committed' }))).toBe(1);
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'failure', level: 'error' }));
    await polls(imds, 3);
    expect(imds.acks()).toEqual([]);
  });

  it('is given when only a hook failed that is not required', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const hook = await machine.hook('stop', 'exit 3');
    await using daemon = await machine.start({ imds: imds.url, config: stopHook(hook, ', required: false') });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    expect(await daemon.waitForLog(isNote('hook-ended'))).toMatchObject({ level: 'warn' });
  });

  it('is given after a failure too where the policy says always', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const hook = await machine.hook('stop', 'exit 3');
    const config = `${stopHook(hook)}events: { Preempt: { ack: always } }`;
    await using daemon = await machine.start({ imds: imds.url, config });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    expect(await daemon.waitForLog(isNote('drain-ended'))).toMatchObject({ outcome: 'failure' });
  });

  it('is not given where the policy says never', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({
      imds: imds.url,
      config: 'events: { Preempt: { ack: never } }',
    });
    imds.addEvent();
    await daemon.waitForLog(isNote('ack-withheld', { reason: 'policy' }));
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    await polls(imds, 3);
    expect(imds.acks()).toEqual([]);
  });

  it("approves a user's reboot of this VM alone, and neither the platform's nor a shared one", async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const hook = await machine.hook('stop');
    await using daemon = await machine.start({ imds: imds.url, config: stopHook(hook) });
    imds.addEvent({ id: 'platform', type: 'Reboot', source: 'Platform' });
    imds.addEvent({ id: 'shared', type: 'Reboot', source: 'User', resources: ['self', 'fleet_1'] });
    imds.addEvent({ id: 'redeploy', type: 'Redeploy', source: 'User' });
    imds.addEvent({ id: 'freeze', type: 'Freeze', source: 'User' });
    imds.addEvent({ id: 'user', type: 'Reboot', source: 'User' });
    await imds.waitForAck('user', soon());
    await imds.waitForAck('redeploy', soon());
    await daemon.waitForLog(isNote('ack-withheld', { eventId: 'platform', reason: 'not-user-initiated' }));
    await daemon.waitForLog(isNote('ack-withheld', { eventId: 'shared', reason: 'shared' }));
    await daemon.waitForLog(isNote('ack-withheld', { eventId: 'freeze', reason: 'policy' }));
    await polls(imds, 3);
    expect(imds.acks().map(({ eventId }) => eventId)).toEqual(['redeploy', 'user']);
    // None of these drains.
    expect(await machine.hookLog()).toEqual([]);
  });

  it('is tried again when the service answers with an error, and takes effect once', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    imds.fault({ kind: 'status', status: 500, on: 'ack', count: 2 });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    await daemon.waitForLog(isNote('ack-ended', { result: 'accepted', attempt: 3 }));
    expect(daemon.logged(isNote('ack-ended', { result: 'failed' }))).toBe(2);
    expect(imds.acks()).toHaveLength(1);
  });

  it('is not repeated when the service refuses it', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    imds.fault({ kind: 'status', status: 400, on: 'ack' });
    imds.addEvent();
    await daemon.waitForLog(isNote('ack-ended', { result: 'refused', level: 'error' }));
    await polls(imds, 4);
    expect(imds.requests().filter(({ method }) => method === 'POST')).toHaveLength(1);
  });
});
