import { describe, expect, it, onTestFinished } from 'vitest';

import type { CheckpointHost } from '../../src/daemon/checkpoint-host.ts';
import type { Loop } from '../../src/daemon/loop.ts';
import { createStopping } from '../../src/daemon/stopping.ts';
import { createLog } from '../../src/observe/log.ts';
import { type Life, noticed, policyWith } from '../core/support.ts';
import { manualClock } from '../imds/support.ts';

const LOG = createLog({ level: 'error', journald: false });
const POLICY = policyWith({ hooks: [] });

/** A daemon whose state is that of `life`, asked to stop while its machine is shut down or not. */
async function askedToStop(life: Life, { isShuttingDown }: { isShuttingDown: boolean }) {
  const clock = manualClock();
  const asked: string[] = [];
  const loop: Loop = {
    state: () => life.state,
    send: ({ kind }) => void asked.push(kind),
    isTurning: () => true,
    crash: () => undefined,
    stop: () => undefined,
  };
  const checkpoints: Pick<CheckpointHost, 'progress' | 'commit'> = {
    progress: () => [],
    commit: async () => ({ kind: 'failed', code: 'x', detail: '', retryable: false }),
  };
  const notifier = {
    stopping: async () => undefined,
    extendTimeout: async () => void asked.push('more time'),
  };
  const dependencies = { clock, log: LOG, notifier, isShuttingDown: async () => isShuttingDown };
  // Nothing else of the host is asked for.
  const parts = { loop, checkpoints: checkpoints as CheckpointHost };
  const stopping = createStopping({ onShutdown: true }, dependencies, parts);
  onTestFinished(() => stopping[Symbol.dispose]());
  stopping.begin();
  await clock.advance(0);
  return { clock, asked };
}

/** The window has ended without a commit, and it is tried again. */
function late(): Life {
  const life = noticed(POLICY);
  life.tick(28_000);
  life.tick(29_000);
  expect(life.state.drain).toMatchObject({ phase: 'waiting', sets: [{ run: { kind: 'committing' } }] });
  return life;
}

describe('asked to stop by a shutdown of the machine', () => {
  it('a set that is just being saved late is waited for', async () => {
    const life = late();
    const { clock, asked } = await askedToStop(life, { isShuttingDown: true });
    await clock.advance(15_000);
    expect(new Set(asked)).toEqual(new Set(['more time']));
    life.setEnds('job', true, 2);
    await clock.advance(1000);
    expect(asked.at(-1)).toBe('stop-requested');
  });

  it('but not for ever', async () => {
    const { clock, asked } = await askedToStop(late(), { isShuttingDown: true });
    await clock.advance(91_000);
    expect(asked).toContain('stop-requested');
  });

  it('a set whose window ends meanwhile is still saved', async () => {
    const life = noticed(POLICY);
    const { clock, asked } = await askedToStop(life, { isShuttingDown: true });
    life.tick(28_000);
    life.tick(29_000);
    await clock.advance(5000);
    expect(asked).not.toContain('stop-requested');
    life.setEnds('job', true, 2);
    await clock.advance(1000);
    expect(asked).toContain('stop-requested');
  });

  it('nothing is waited for when the service alone is stopped, or all is saved', async () => {
    expect((await askedToStop(late(), { isShuttingDown: false })).asked).toEqual(['stop-requested']);
    const saved = noticed(POLICY);
    saved.setEnds('job');
    saved.reportEnds();
    saved.ackEnds();
    expect(saved.state.drain?.phase).toBe('waiting');
    expect((await askedToStop(saved, { isShuttingDown: true })).asked).toEqual(['stop-requested']);
  });
});
