import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';

import type { HookRequest, HookResult, HookRunner } from '../../src/core/ports.ts';
import { request } from './request.ts';

export interface RunnerRule {
  readonly title: string;
  readonly run: () => Promise<void>;
}

let drains = 0;

/** In a drain of its own, so that nothing is known of an earlier run. */
export function runIn(
  runner: Pick<HookRunner, 'run'>,
  name: string,
  changes: Partial<HookRequest> = {},
  signal = new AbortController().signal,
): Promise<HookResult> {
  return runner.run(request(name, { drainId: `contract-${process.pid}@${++drains}`, ...changes }), signal);
}

export function assertFailed(result: HookResult, reason: string, detail = /\w+ \w+/): void {
  assert.ok(result.kind === 'failed', result.kind);
  assert.equal(result.reason, reason, result.detail);
  assert.match(result.detail, detail);
}

/**
 * What every kind of runner does with the hooks `succeeds`, `fails` and `hangs`. With node:assert, since they also run
 * inside a machine of their own.
 */
export function runnerRules(runner: HookRunner): readonly RunnerRule[] {
  const rules: RunnerRule[] = [];
  const rule = (title: string, run: () => Promise<void>) => void rules.push({ title, run });

  rule('a success and a failure are told, with the time that it took', async () => {
    const startedAt = performance.now();
    const result = await runIn(runner, 'succeeds');
    assert.equal(result.kind, 'succeeded', JSON.stringify(result));
    assert.ok(result.durationMs > 0 && result.durationMs <= performance.now() - startedAt + 1);
    assertFailed(await runIn(runner, 'fails'), 'exit');
  });

  rule('a hook that nobody knows is refused, with the remedy', async () => {
    assertFailed(await runIn(runner, 'nobody-knows'), 'refused', /"nobody-knows".*: .*put it back/);
  });

  rule('at its timeout it is over', async () => {
    assertFailed(await runIn(runner, 'hangs', { timeoutMs: 500 }), 'timeout');
    assertFailed(await runIn(runner, 'hangs', { timeoutMs: 0 }), 'timeout');
  });

  rule('at the abort it is cancelled, also before it began, and nothing goes on listening', async () => {
    assertFailed(await runIn(runner, 'hangs', {}, AbortSignal.abort()), 'cancelled');
    const controller = new AbortController();
    const running = runIn(runner, 'hangs', { timeoutMs: 60_000 }, controller.signal);
    setTimeout(() => controller.abort(), 200);
    assertFailed(await running, 'cancelled');
    assert.deepEqual(getEventListeners(controller.signal, 'abort'), []);
    const { signal } = new AbortController();
    await runIn(runner, 'succeeds', {}, signal);
    assert.deepEqual(getEventListeners(signal, 'abort'), []);
  });

  rule('several at once do not wait for each other', async () => {
    const hanging = runIn(runner, 'hangs', { timeoutMs: 3000 });
    const others = await Promise.all(['succeeds', 'fails'].map((name) => runIn(runner, name)));
    assert.deepEqual(
      others.map(({ kind }) => kind),
      ['succeeded', 'failed'],
    );
    assertFailed(await hanging, 'timeout');
  });
  return rules;
}
