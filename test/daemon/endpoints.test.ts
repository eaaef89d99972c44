import { createServer } from 'node:http';
import { once } from 'node:events';

import { describe, expect, it } from 'vitest';

import { type TestDaemon, createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { stopHook } from './support.ts';

const ON_ANY_PORT = 'metrics: { listen: 127.0.0.1:0 }\nhealth: { listen: 127.0.0.1:0 }\n';

async function urlOf(daemon: TestDaemon, endpoint: string): Promise<string> {
  const line = await daemon.waitForLog(
    (one) => one.msg === 'endpoint is open' && one['endpoint'] === endpoint,
  );
  return `http://127.0.0.1:${Number(line['port'])}`;
}

describe.concurrent('the endpoints', () => {
  it('say that the VM drains from the notice until it watches again, and count what happened', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const hook = await machine.hook('stop', 'until_ go');
    await using daemon = await machine.start({ imds: imds.url, config: ON_ANY_PORT + stopHook(hook) });
    const health = await urlOf(daemon, 'health');
    const metrics = `${await urlOf(daemon, 'metrics')}/metrics`;
    expect((await fetch(health)).status).toBe(200);
    const { id } = imds.addEvent({ autoStart: false });
    await daemon.waitForLog(isNote('event-noticed'));
    const draining = await fetch(`${health}/healthz`);
    expect(draining.status).toBe(503);
    expect(await draining.json()).toEqual({ status: 'draining', phase: 'before-checkpoint' });
    expect(await (await fetch(metrics)).text()).toContain('evictd_phase{phase="before-checkpoint"} 1');
    imds.withdraw(id);
    await machine.release('go');
    await daemon.waitForLog(isNote('watching-again'));
    expect((await fetch(health)).status).toBe(200);
    const text = await (await fetch(metrics)).text();
    expect(text).toContain('evictd_notices_total{type="Preempt"} 1');
    expect(text).toContain('evictd_events_withdrawn_total{type="Preempt"} 1');
    expect(text).toContain('evictd_hook_runs_total{stage="before-checkpoint",result="succeeded"} 1');
    expect(text).not.toContain('evictd_imds_polls_total{result="good"} 0');
  });

  it('do not keep the daemon from watching when their port is taken', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    await using daemon = await machine.start({
      imds: imds.url,
      config: `metrics: { listen: "127.0.0.1:${port}" }\n${stopHook(await machine.hook('stop'))}`,
    });
    const line = await daemon.waitForLog((one) => one['code'] === 'listen-failed');
    expect(line['detail']).toContain(`metrics.listen: can't listen on 127.0.0.1:${port}`);
    imds.addEvent({ notBefore: '30s' });
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    other.close();
  });

  it('answer nothing else', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url, config: ON_ANY_PORT });
    const metrics = await urlOf(daemon, 'metrics');
    expect((await fetch(`${metrics}/v1/status`)).status).toBe(404);
    // No URL, and nothing that could end the daemon.
    expect((await fetch(`${metrics}//`)).status).toBe(404);
    expect((await fetch(`${metrics}/metrics`, { method: 'POST', body: 'x' })).status).toBe(405);
    expect(await (await fetch(`${metrics}/metrics`, { method: 'HEAD' })).text()).toBe('');
  });
});
