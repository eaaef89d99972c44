import fc from 'fast-check';
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

  it('is first for the hooks of the config: guests share what their whole time leaves', () => {
    const guests = Array.from({ length: 100 }, (_, n) =>
      hook(`guest-${n}`, { order: 51 + n, timeoutMs: 3_600_000, required: false, isGuest: true }),
    );
    const before = hook('early', { order: 1, timeoutMs: 3_600_000, isGuest: true });
    const life = noticed(
      policyWith({ hooks: [before, hook('stop', { timeoutMs: 8000 }), ...guests], sets: [] }),
    );
    // Of 28 s, 8 belong to the other one; 101 guests share the rest.
    expect(grants(life)).toEqual({ early: 20_000 / 101 });
    life.hookEnds('early', false);
    expect(grants(life)).toMatchObject({ stop: 8000 });
  });

  it('of a guest is nothing where the others need it all, but the time of those that it runs beside', () => {
    const hooks = [
      hook('alone', { order: 1, isGuest: true }),
      hook('first', { order: 2, timeoutMs: 20_000 }),
      hook('beside', { order: 2, timeoutMs: 60_000, isGuest: true }),
      hook('last', { order: 3, timeoutMs: 20_000 }),
    ];
    const life = noticed(policyWith({ hooks, sets: [] }));
    expect(life.log()).toContain('run-hook first#1');
    expect(grants(life)).toEqual({ first: 14_000, beside: 14_000 });
    expect(life.state.drain?.hooks[0]?.run).toEqual({ kind: 'skipped', why: 'no-time' });
  });

  it('of the hooks of the config is never less because of guests, whatever they ask for', () => {
    const some = (isGuest: boolean) =>
      fc.array(
        fc.record({
          stage: fc.constantFrom('before-checkpoint', 'after-checkpoint'),
          order: fc.integer({ min: 1, max: 4 }),
          timeoutMs: fc.integer({ min: 100, max: 60_000 }),
          isGuest: fc.constant(isGuest || undefined),
        }),
        { maxLength: 6 },
      );
    fc.assert(
      fc.property(some(false), some(true), (hosts, guests) => {
        const named = (all: typeof hosts, prefix: string) => all.map((one, n) => hook(`${prefix}${n}`, one));
        const configured = named(hosts, 'host');
        const alone = grants(noticed(policyWith({ hooks: configured, sets: [] })));
        // Those before them end at once here: what is looked at is what is promised at the start.
        const life = noticed(policyWith({ hooks: [...configured, ...named(guests, 'guest')], sets: [] }));
        for (let round = 0; round < 6; round++) {
          for (const { name, run } of life.state.drain?.hooks ?? [])
            if (run.kind === 'running' && name.startsWith('guest')) life.hookEnds(name, false);
        }
        for (const [name, ms] of Object.entries(alone)) expect(grants(life)[name]).toBe(ms);
      }),
    );
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
