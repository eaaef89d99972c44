import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { workEndAt } from '../../src/core/budget.ts';
import type { HookRequest } from '../../src/core/ports.ts';
import { INITIAL_STATE } from '../../src/core/state.ts';
import { startLoop } from '../../src/daemon/loop.ts';
import type { Loop } from '../../src/daemon/loop.ts';
import { noteOf } from '../../src/daemon/notes.ts';
import { createOperations } from '../../src/daemon/operations.ts';
import { createExecutors, perform } from '../../src/daemon/perform.ts';
import { createLog } from '../../src/observe/log.ts';
import { SERVER_EPOCH, event, hook, policyWith } from '../core/support.ts';

test('a hook gets no time that writing the journal has taken', async () => {
  const policy = policyWith({ hooks: [hook('stop', { timeoutMs: 60_000 })], sets: [] });
  const asked = Promise.withResolvers<{ request: HookRequest; at: number }>();
  const bug = (error: unknown) => asked.reject(error);
  const executors = createExecutors({
    noteOf,
    clock: systemClock,
    log: createLog({ level: 'error', journald: false }),
    loop: (): Loop => loop,
    operations: createOperations(systemClock, bug),
    hooks: {
      async run(request) {
        asked.resolve({ request, at: systemClock.monotonicMs() });
        return { kind: 'succeeded', durationMs: 1 };
      },
    },
    policy: () => policy,
    checkpoints: undefined,
    acknowledge: async () => ({ kind: 'accepted' }),
    reportContext: () => {
      throw new Error('nothing is reported here');
    },
    onNote: () => undefined,
    onExit: () => undefined,
  });
  const loop = startLoop(
    { ...INITIAL_STATE, vmName: 'fleet_2' },
    {
      clock: systemClock,
      policy: () => policy,
      // A disk that hangs: it is waited for a second.
      persist: () => new Promise(() => undefined),
      perform: (effect) => perform(executors, effect),
      upload: () => undefined,
      onDecided: () => undefined,
      onPersistFailed: () => undefined,
      onPersistWorks: () => undefined,
      onCrash: bug,
    },
  );
  loop.send({
    kind: 'document',
    document: { incarnation: 1, serverNow: SERVER_EPOCH, events: [event()], brokenIds: [], complete: true },
  });
  const { request, at } = await asked.promise;
  const { drain } = loop.state();
  loop.stop();
  if (drain === undefined) throw new Error('there is no drain');
  expect(at - drain.startedAt).toBeGreaterThan(900);
  expect(request.timeoutMs).toBeGreaterThan(5000);
  expect(at + request.timeoutMs).toBeLessThan(workEndAt(policy, drain) + 100);
});
