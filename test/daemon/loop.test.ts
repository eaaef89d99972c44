import { describe, expect, it } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { Effect } from '../../src/core/effect.ts';
import { INITIAL_STATE } from '../../src/core/state.ts';
import type { State } from '../../src/core/state.ts';
import type { Loop } from '../../src/daemon/loop.ts';
import { startLoop } from '../../src/daemon/loop.ts';
import { SERVER_EPOCH, event, policyWith } from '../core/support.ts';

interface Rig {
  readonly loop: Loop;
  readonly effects: Effect[];
  readonly notices: string[];
  /** Resolves with the first effect of this kind. */
  readonly performed: (kind: Effect['kind']) => Promise<Effect>;
}

/** A loop of a VM without hooks whose journal does as the test says. */
function rig(persist: (state: State) => Promise<void>): Rig {
  const effects: Effect[] = [];
  const notices: string[] = [];
  const waiting: { kind: Effect['kind']; resolve: (effect: Effect) => void }[] = [];
  const loop = startLoop(
    { ...INITIAL_STATE, vmName: 'fleet_2' },
    {
      clock: systemClock,
      policy: () => policyWith({ hooks: [] }),
      persist,
      perform(effect) {
        effects.push(effect);
        for (const one of waiting) if (one.kind === effect.kind) one.resolve(effect);
      },
      upload: () => undefined,
      onDecided: () => undefined,
      onPersistFailed: () => notices.push('fails'),
      onPersistWorks: () => notices.push('works'),
      onCrash: (error) => notices.push(String(error)),
    },
  );
  return {
    loop,
    effects,
    notices,
    performed(kind) {
      const earlier = effects.find((effect) => effect.kind === kind);
      if (earlier !== undefined) return Promise.resolve(earlier);
      return new Promise((resolve) => waiting.push({ kind, resolve }));
    },
  };
}

const PREEMPT = {
  kind: 'document',
  document: { incarnation: 1, serverNow: SERVER_EPOCH, events: [event()], brokenIds: [], complete: true },
} as const;

describe('the loop', () => {
  it('keeps the state before it does what came with it', async () => {
    const order: string[] = [];
    const kept = Promise.withResolvers<void>();
    const { loop, effects, performed } = rig((state) => {
      order.push(`kept ${state.drain?.phase}, ${effects.length} effects so far`);
      return kept.promise;
    });
    loop.send(PREEMPT);
    expect(effects).toEqual([]);
    kept.resolve();
    await performed('commit-set');
    loop.stop();
    expect(order[0]).toBe('kept checkpoint, 0 effects so far');
  });

  it('goes on without a journal that hangs, and waits for it only the first time', async () => {
    let asked = Promise.withResolvers<void>();
    const { loop, effects, notices, performed } = rig(() => {
      asked.resolve();
      return new Promise(() => undefined);
    });
    loop.send(PREEMPT);
    await performed('commit-set');
    // Had each turn that changes something waited for its second, they would take half a minute.
    const began = systemClock.monotonicMs();
    for (let turn = 1; turn <= 30; turn++) {
      asked = Promise.withResolvers();
      const events = [event(), event({ id: `N${turn}`, resources: ['fleet_9'] })];
      loop.send({ kind: 'document', document: { ...PREEMPT.document, incarnation: 1 + turn, events } });
      await asked.promise;
    }
    const drainId = loop.state().drain?.id ?? '';
    const result = { kind: 'committed', id: '1', files: 1, bytes: 1, bytesSent: 1, durationMs: 1 } as const;
    loop.send({ kind: 'set-ended', drainId, set: 'job', attempt: 1, result });
    await performed('write-report');
    loop.send({ kind: 'report-ended', drainId });
    await performed('acknowledge');
    loop.stop();
    expect(systemClock.monotonicMs() - began).toBeLessThan(15_000);
    expect(effects.filter(({ kind }) => kind === 'acknowledge')).toHaveLength(1);
    expect(notices).toEqual(['fails']);
  });

  it('says when the journal fails and when it works again, each once', async () => {
    let broken = true;
    const { loop, notices, performed } = rig(() =>
      broken ? Promise.reject(new Error('disk full')) : Promise.resolve(),
    );
    for (let poll = 0; poll < 5; poll++) loop.send({ kind: 'poll-failed' });
    loop.send(PREEMPT);
    await performed('commit-set');
    expect(notices).toEqual(['fails']);
    broken = false;
    for (let poll = 0; poll < 5; poll++) loop.send({ kind: 'poll-failed' });
    await expect.poll(() => notices).toEqual(['fails', 'works']);
    loop.stop();
  });
});
