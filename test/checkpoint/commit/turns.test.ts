import { expect, it } from 'vitest';

import { type TurnKind, createTurns } from '../../../src/checkpoint/commit/turns.ts';

it('what a drain asks for goes before all that wait, and background work behind them', async () => {
  const turns = createTurns({ name: 'job' });
  const { signal } = new AbortController();
  const begun: TurnKind[] = [];
  const first = Promise.withResolvers<void>();
  const running = turns.run('command', signal, () => first.promise);
  const kinds: readonly TurnKind[] = ['background', 'command', 'schedule', 'command', 'stage', 'notice'];
  const waiting = kinds.map((kind) => turns.run(kind, signal, async () => void begun.push(kind)));
  first.resolve();
  await Promise.all([running, ...waiting]);
  expect(begun).toEqual(['stage', 'notice', 'command', 'schedule', 'command', 'background']);
});
