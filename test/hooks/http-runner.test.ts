import { describe, expect, it } from 'vitest';
import * as z from 'zod';

import { systemClock } from '../../src/base/clock.ts';
import type { HookResult } from '../../src/core/ports.ts';
import { createHttpRunner } from '../../src/hooks/http-runner.ts';
import { startHttpReceiver } from '../support/http-receiver.ts';
import { EVENT, request } from './request.ts';

function tell(url: string, changes = {}, signal = new AbortController().signal): Promise<HookResult> {
  const clock = { ...systemClock, wallMs: () => Date.UTC(2026, 8, 19, 18, 29, 17) };
  const hooks = [{ name: 'tell', url, method: 'POST' } as const];
  const runner = createHttpRunner(hooks, { clock, random: () => 0, vmName: () => 'fleet_2' });
  return runner.run(request('tell', changes), signal);
}

describe.concurrent('an http hook', () => {
  it('sends the event as a CloudEvent', async () => {
    await using receiver = await startHttpReceiver();
    expect(await tell(`${receiver.url}/drain?x=1`)).toMatchObject({ kind: 'succeeded' });
    const [got] = receiver.requests;
    expect(got).toMatchObject({
      method: 'POST',
      path: '/drain?x=1',
      contentType: 'application/cloudevents+json; charset=utf-8',
    });
    expect(JSON.parse(got?.body ?? '')).toEqual({
      specversion: '1.0',
      id: `${EVENT.id}@1/tell`,
      source: '/evictd/fleet_2',
      type: 'evictd.before-checkpoint',
      subject: EVENT.id,
      time: '2026-09-19T18:29:17.000Z',
      datacontenttype: 'application/json',
      data: {
        event: expect.objectContaining({ EventId: EVENT.id, EventType: 'Preempt' }),
        vmName: 'fleet_2',
        hook: 'tell',
        stage: 'before-checkpoint',
        attempt: 1,
        drill: false,
        deadline: '2026-09-19T18:29:42.000Z',
        secondsLeft: 25,
      },
    });
  });

  it('has one id in a drain, and another one when the same event is announced again', async () => {
    await using receiver = await startHttpReceiver();
    for (const changes of [{}, { attempt: 2 }, { drainId: `${EVENT.id}@2` }])
      await tell(receiver.url, changes);
    const ids = receiver.requests.map(({ body }) => z.object({ id: z.string() }).parse(JSON.parse(body)).id);
    expect(ids).toEqual([`${EVENT.id}@1/tell`, `${EVENT.id}@1/tell`, `${EVENT.id}@2/tell`]);
  });

  it('is told again, with the same id, while its time lasts', async () => {
    await using receiver = await startHttpReceiver();
    receiver.answerWith('reset', 503);
    expect(await tell(receiver.url)).toMatchObject({ kind: 'succeeded' });
    expect(new Set(receiver.requests.map(({ body }) => body)).size).toBe(1);
    expect(receiver.requests).toHaveLength(3);
  });

  it('fails when it is refused, when its time is over, and when it is cancelled', async () => {
    await using receiver = await startHttpReceiver();
    receiver.answerWith(404);
    expect(await tell(receiver.url)).toMatchObject({
      kind: 'failed',
      reason: 'exit',
      detail: `${receiver.url} answered 404`,
    });
    receiver.answerWith('hang');
    expect(await tell(receiver.url, { timeoutMs: 200 })).toMatchObject({ kind: 'failed', reason: 'timeout' });
    receiver.answerWith('hang');
    const cancelled = await tell(receiver.url, {}, AbortSignal.timeout(100));
    expect(cancelled).toMatchObject({ kind: 'failed', reason: 'cancelled' });
  });
});
