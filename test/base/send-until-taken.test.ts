import { describe, expect, it } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { sendUntilTaken } from '../../src/base/send-until-taken.ts';
import { startHttpReceiver } from '../support/http-receiver.ts';

const HASTE = { clock: systemClock, random: () => 0 };

function send(url: string, signal = AbortSignal.timeout(10_000)): Promise<void> {
  const message = { url, method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'x' } as const;
  return sendUntilTaken({ ...message, where: 'the receiver' }, HASTE, signal);
}

describe.concurrent('sending over HTTP', () => {
  it('tries again what may pass, until it is taken', async () => {
    await using receiver = await startHttpReceiver();
    receiver.answerWith(503, 'reset', 429, 500);
    await send(`${receiver.url}/hook`);
    expect(receiver.requests).toHaveLength(5);
    expect(new Set(receiver.requests.map(({ body }) => body))).toEqual(new Set(['x']));
  });

  it.each([400, 401, 404, 410])('gives up at once when the answer is %i', async (status) => {
    await using receiver = await startHttpReceiver();
    receiver.answerWith(status);
    await expect(send(receiver.url)).rejects.toMatchObject({
      code: 'http-refused',
      message: `the receiver answered ${status}`,
    });
    expect(receiver.requests).toHaveLength(1);
  });

  it('waits for as long as the receiver asks, but for no minute', async () => {
    await using receiver = await startHttpReceiver();
    const later = (after: string) => ({ status: 429, headers: { 'retry-after': after } });
    receiver.answerWith(later('3'), later('3600'), later('soon'), later('0'));
    const pauses: number[] = [];
    const clock = {
      ...systemClock,
      timer(delayMs: number, fire: () => void) {
        // That of a try.
        if (delayMs === 5000) return systemClock.timer(delayMs, fire);
        pauses.push(delayMs);
        return systemClock.timer(0, fire);
      },
    };
    const message = { url: receiver.url, method: 'POST', headers: {}, body: 'x', where: 'it' } as const;
    await sendUntilTaken(message, { clock, random: () => 1 }, AbortSignal.timeout(10_000));
    expect(pauses).toEqual([3000, 10_000, 1000, 2000]);
  });

  it('follows no redirect', async () => {
    await using receiver = await startHttpReceiver();
    receiver.answerWith({ status: 302, headers: { location: '/elsewhere' } });
    await expect(send(receiver.url)).rejects.toMatchObject({ code: 'http-refused' });
    expect(receiver.requests.map(({ path }) => path)).toEqual(['/']);
  });

  it('ends with the signal and says the last reason, without the URL', async () => {
    await using receiver = await startHttpReceiver();
    receiver.answerWith(500, 'hang');
    await expect(send(`${receiver.url}/secret`, AbortSignal.timeout(600))).rejects.toMatchObject({
      code: 'http-failed',
      message: 'the receiver answered 500',
    });
    const unreachable = send('http://127.0.0.1:9/secret', AbortSignal.timeout(300));
    await expect(unreachable).rejects.toMatchObject({
      code: 'http-failed',
      message: 'the receiver was not reached: ECONNREFUSED',
    });
  });
});
