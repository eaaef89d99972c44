import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { HookRunner } from '../../src/core/ports.ts';
import { createHttpRunner } from '../../src/hooks/http-runner.ts';
import { type RawServer, startRawServer } from '../imds/support.ts';
import { processRules } from './process-contract.ts';
import { type RunnerRule, runnerRules } from './runner-contract.ts';

// As units, and for the hooks that act on units: test/systemd/hook-units.test.ts.
describe.concurrent('hook runner contract: child processes', () => {
  testAll(processRules(false));
});

describe.concurrent('hook runner contract: http', () => {
  let server: RawServer;
  let runner: HookRunner;
  beforeAll(async () => {
    server = await startRawServer((request, response) => {
      if (request.url !== '/hangs') response.writeHead(request.url === '/succeeds' ? 204 : 404).end();
    });
    const hooks = ['succeeds', 'fails', 'hangs'].map((name) => {
      return { name, url: `${server.url}/${name}`, method: 'POST' } as const;
    });
    runner = createHttpRunner(hooks, { clock: systemClock, random: Math.random, vmName: () => 'fleet_2' });
  });
  afterAll(() => server[Symbol.asyncDispose]());
  testAll(runnerRules({ run: (...args) => runner.run(...args) }));
});

function testAll(rules: readonly RunnerRule[]): void {
  test.for(rules.map(({ title, run }) => [title, run] as const))('%s', async ([, run]) => {
    await expect(run()).resolves.toBeUndefined();
  });
}
