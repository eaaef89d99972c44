import { type Clock, systemClock } from '../../src/base/clock.ts';
import { scenarioOf } from '../../src/mock/scenario.ts';
import type { ScenarioInput } from '../../src/mock/schema.ts';
import { type MockImds, startMockImds } from '../../src/mock/server.ts';

/** A mock metadata service on a free port of the loopback; `await using` closes it. No rate limit unless asked for. */
export async function startTestImds(
  scenario: ScenarioInput = {},
  clock: Clock = systemClock,
): Promise<MockImds & AsyncDisposable> {
  const mock = await startMockImds(
    {
      host: '127.0.0.1',
      port: 0,
      scenario: scenarioOf({ ...scenario, service: { rateLimit: 0, ...scenario.service } }),
    },
    { clock },
  );
  return { ...mock, [Symbol.asyncDispose]: () => mock.close() };
}
