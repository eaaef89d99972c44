import { describe, expect, it } from 'vitest';

import { Life, SERVER_EPOCH, event, hook, noticed, policyWith } from './support.ts';

describe('the budget of hooks', () => {
  function grants(life: Life): Record<string, number> {
    return Object.fromEntries(
      life.effects.flatMap((effect) => (effect.kind === 'run-hook' ? [[effect.name, effect.timeoutMs]] : [])),
    );
  }

  it('is their own timeout when there is room', () => {
    expect(grants(noticed())).toEqual({ stop: 10_000 });
  });

  it('leaves what the expected upload needs', () => {
    const life = new Life(policyWith({ hooks: [hook('stop', { timeoutMs: 60_000 })] }));
    const upload = { bytesLeft: 100_000_000, bytesPerSecond: 10_000_000 };
    const document = {
      incarnation: 1,
      serverNow: SERVER_EPOCH,
      events: [event()],
      brokenIds: [],
      complete: true,
    };
    life.input({ at: 0, wallAt: 0, upload, kind: 'document', document });
    // 30 s - 2 s reserve - 10 s upload - 0.5 s commit.
    expect(grants(life)).toEqual({ stop: 17_500 });
  });

  it.each([
    ['a quarter, however much there is to upload', { bytesLeft: 1e12, bytesPerSecond: 1 }, 7000],
    [
      'half, when nobody knows yet how much there is to upload',
      { bytesLeft: undefined, bytesPerSecond: 1e9 },
      14_000,
    ],
  ])('keeps for the hooks %s', (_what, upload, kept) => {
    const life = new Life(policyWith({ hooks: [hook('stop', { timeoutMs: 60_000 })] }));
    const document = {
      incarnation: 1,
      serverNow: SERVER_EPOCH,
      events: [event()],
      brokenIds: [],
      complete: true,
    };
    life.input({ at: 0, wallAt: 0, upload, kind: 'document', document });
    expect(grants(life)).toEqual({ stop: kept });
  });

  it('is shared with the groups that come after, and what a short one leaves goes to the others', () => {
    const hooks = [
      hook('first', { order: 1, timeoutMs: 60_000 }),
      hook('second', { order: 2, timeoutMs: 2000 }),
      hook('last', { stage: 'after-checkpoint', timeoutMs: 20_000 }),
    ];
    const life = noticed(policyWith({ hooks, sets: [] }));
    expect(grants(life)).toEqual({ first: 13_000 });
    life.at = 13_000;
    life.hookEnds('first', false);
    expect(grants(life)).toEqual({ first: 13_000, second: 2000 });
  });

  it('of a hook that runs is not cut by the jitter of whole seconds', () => {
    const life = noticed();
    life.at = 1900;
    life.document([event()]);
    life.at = 2500;
    life.document([event({ notBefore: SERVER_EPOCH + 29_500 })]);
    expect(life.log()).toEqual(['stage-sets job', 'run-hook stop#1']);
  });

  it('of a hook that runs is cut by no more than the window lost', () => {
    const life = noticed(
      policyWith({ hooks: [hook('stop', { timeoutMs: 26_000 }), hook('next', { order: 90 })] }),
    );
    const before = grants(life)['stop'] ?? 0;
    life.at = 1000;
    life.document([event({ notBefore: SERVER_EPOCH + 28_000 })]);
    const tighten = life.effects.findLast((effect) => effect.kind === 'tighten');
    expect(tighten?.hooksEndAt).toBeGreaterThanOrEqual(before - 2000);
  });

  it('is nothing once the work must end: the hook is skipped and said so', () => {
    const hooks = [hook('first', { order: 1 }), hook('second', { order: 2 })];
    const life = noticed(policyWith({ hooks, sets: [] }));
    life.at = 27_990;
    const effects = life.hookEnds('first');
    expect(effects).toContainEqual(expect.objectContaining({ code: 'hook-skipped' }));
    expect(life.log()).toEqual(['run-hook first#1', 'write-report']);
  });
});
