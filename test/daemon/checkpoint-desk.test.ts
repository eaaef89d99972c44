import { expect, it } from 'vitest';

import type { CommitRequest, CommitResult } from '../../src/core/ports.ts';
import { createCheckpointDesk } from '../../src/daemon/checkpoint-desk.ts';

const COMMITTED: CommitResult = {
  kind: 'committed',
  id: '00000001',
  files: 1,
  bytes: 1,
  bytesSent: 1,
  durationMs: 1,
};

/** An engine whose commits end when the test says so. */
function engine() {
  const begun: { readonly request: CommitRequest; readonly signal: AbortSignal; readonly end: () => void }[] =
    [];
  const commit = (request: CommitRequest, signal: AbortSignal): Promise<CommitResult> => {
    const { promise, resolve } = Promise.withResolvers<CommitResult>();
    begun.push({ request, signal, end: () => resolve(COMMITTED) });
    return promise;
  };
  return { begun, desk: createCheckpointDesk(commit) };
}

const ask: CommitRequest = { set: 'job', reason: 'command' };
const { signal } = new AbortController();

it('however many ask, one runs and one waits, and all who wait have its answer', async () => {
  const { begun, desk } = engine();
  const first = desk(ask, signal);
  await expect.poll(() => begun.length).toBe(1);
  const many = Array.from({ length: 180 }, () => desk(ask, signal));
  const takesOver = desk({ ...ask, takeOver: true }, signal);
  const other = desk({ ...ask, set: 'logs' }, signal);
  const guest = desk({ ...ask, isGuest: true }, signal);
  await expect.poll(() => begun.length).toBe(4);
  begun[0]?.end();
  expect(await first).toBe(COMMITTED);
  await expect.poll(() => begun.length).toBe(5);
  for (const { end } of begun) end();
  expect(new Set(await Promise.all([...many, takesOver, other, guest]))).toEqual(new Set([COMMITTED]));
  expect(begun.map(({ request }) => [request.set, request.takeOver ?? false])).toEqual([
    ['job', false],
    ['job', true],
    ['logs', false],
    ['job', false],
    ['job', false],
  ]);
});

it('who turns away is answered at once; what nobody waits for any more is given up, and what others wait for is not', async () => {
  const { begun, desk } = engine();
  const [one, other] = [new AbortController(), new AbortController()];
  const first = desk(ask, one.signal);
  await expect.poll(() => begun.length).toBe(1);
  const joined = [desk(ask, one.signal), desk(ask, other.signal)];
  one.abort(new Error('gone'));
  await expect(first).rejects.toThrow('gone');
  await expect(joined[0]).rejects.toThrow('gone');
  expect(begun[0]?.signal.aborted).toBe(true);
  begun[0]?.end();
  await expect.poll(() => begun.length).toBe(2);
  expect(begun[1]?.signal.aborted).toBe(false);
  begun[1]?.end();
  expect(await joined[1]).toBe(COMMITTED);

  const alone = new AbortController();
  const running = desk(ask, signal);
  await expect.poll(() => begun.length).toBe(3);
  const given = desk(ask, alone.signal);
  alone.abort(new Error('gone'));
  await expect(given).rejects.toThrow('gone');
  const after = desk(ask, signal);
  begun[2]?.end();
  expect(await running).toBe(COMMITTED);
  await expect.poll(() => begun.length).toBe(4);
  begun[3]?.end();
  expect(await after).toBe(COMMITTED);
});
