import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { describeStatus } from '../../src/cli/status-text.ts';
import { connectClient } from '../support/control-client.ts';
import { createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls } from './support.ts';

describe.concurrent("a hook for other VMs' events", () => {
  it('runs once, is told whom it is about, and is neither a drain nor acknowledged', async () => {
    await using imds = await startTestImds({ vm: { name: 'fleet_2' } });
    await using machine = await createMachine();
    const told = join(machine.folder, 'told');
    const hook = await machine.hook(
      'ring',
      `{ echo "$EVICTD_SCOPE" "$EVICTD_PEERS" "\${EVICTD_DEADLINE-none}"; cat; } > ${told}`,
    );
    const config = `hooks: [{ name: ring, scope: peers, run: [${hook}] }]`;
    await using daemon = await machine.start({ imds: imds.url, config });
    await daemon.waitForLog(isNote('identified', { vmName: 'fleet_2' }));
    const client = connectClient(machine.socket);
    await client.event('hello');
    const { id } = imds.addEvent({ resources: ['fleet_1', 'fleet_22'] });
    expect(await client.event('peer-notice')).toMatchObject({ data: { event: { EventId: id } } });
    expect(await daemon.waitForLog(isNote('peer-noticed', { eventId: id }))).toMatchObject({
      hooks: ['ring'],
    });
    await daemon.waitForLog(
      isNote('hook-ended', { hook: 'ring', stage: 'peer-notice', result: 'succeeded' }),
    );
    await polls(imds, 5);
    expect(await machine.hookLog()).toEqual([
      'ring start type=Preempt stage=peer-notice attempt=1 left=none',
      'ring end',
    ]);
    const [first, event] = (await readFile(told, 'utf8')).split('\n');
    expect(first).toBe('peers fleet_1 fleet_22 none');
    expect(JSON.parse(event ?? '')).toMatchObject({ EventId: id, Resources: ['fleet_1', 'fleet_22'] });
    expect(imds.acks()).toEqual([]);
    const status = await daemon.status();
    expect(status).toMatchObject({ phase: 'watching', hooks: [] });
    expect(status.drain).toBeUndefined();
    expect(describeStatus(status)).toMatch(
      /^peer hook +ring: order 50, up to 10\.0 s\npeer +Preempt \S+ of fleet_1 fleet_22; ring \(peer-notice\): succeeded after .+ms$/m,
    );
  });

  it('does not run for an event of this VM', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const [ring, stop] = [await machine.hook('ring'), await machine.hook('stop')];
    const config = `hooks: [{ name: ring, scope: peers, run: [${ring}] }, { name: stop, run: [${stop}] }]`;
    await using daemon = await machine.start({ imds: imds.url, config });
    imds.addEvent();
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    expect((await machine.hookLog()).map((line) => line.split(' ')[0])).toEqual(['stop', 'stop']);
  });

  it('is run again, as a second attempt, by a daemon that is started again while it runs; never a third time', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const hook = await machine.hook('ring', '[ "$EVICTD_ATTEMPT" = 2 ] || until_ go');
    const config = `hooks: [{ name: ring, scope: peers, run: [${hook}] }]`;
    {
      await using first = await machine.start({ imds: imds.url, config });
      await first.waitForLog(isNote('identified'));
      imds.addEvent({ resources: ['fleet_7'] });
      await first.waitForLog(isNote('peer-noticed'));
    }
    {
      await using second = await machine.start({ imds: imds.url, config });
      await second.waitForLog(isNote('hook-ended', { hook: 'ring', attempt: 2, result: 'succeeded' }));
    }
    await using third = await machine.start({ imds: imds.url, config });
    await polls(imds, 3);
    expect(third.logged(isNote('hook-ended'))).toBe(0);
  });
});
