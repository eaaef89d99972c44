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
    const document = { incarnation: 1, serverNow: SERVER_EPOCH, events: [event()], complete: true };
    life.input({ at: 0, wallAt: 0, upload, kind: 'document', document });
    // 30 s - 2 s reserve - 10 s upload - 0.5 s commit.
    expect(grants(life)).toEqual({ stop: 17_500 });
  });

  it('keeps a quarter for the hooks however much there is to upload', () => {
    const life = new Life(policyWith({ hooks: [hook('stop', { timeoutMs: 60_000 })] }));
    const upload = { bytesLeft: 1e12, bytesPerSecond: 1 };
    const document = { incarnation: 1, serverNow: SERVER_EPOCH, events: [event()], complete: true };
    life.input({ at: 0, wallAt: 0, upload, kind: 'document', document });
    expect(grants(life)).toEqual({ stop: 7000 });
  });

  it('is shared with the groups that come after', () => {
    const hooks = [
      hook('first', { order: 1, timeoutMs: 60_000 }),
      hook('second', { order: 2, timeoutMs: 20_000 }),
      hook('last', { stage: 'after-checkpoint', timeoutMs: 20_000 }),
    ];
    const life = noticed(policyWith({ hooks, sets: [] }));
    expect(grants(life)).toEqual({ first: 28_000 * 0.6 });
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
