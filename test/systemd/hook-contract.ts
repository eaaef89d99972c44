// Inside a machine with a real systemd: the contract of the runners there; prints a line of JSON for each rule.
import { messageOf } from '../../src/base/errors.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createSystemdRunner } from '../../src/hooks/systemd-runner.ts';
import { processRules } from '../hooks/process-contract.ts';
import { runnerRules } from '../hooks/runner-contract.ts';

const hooks = ['succeeds', 'fails', 'hangs'].map((name) => {
  return { name, unit: `contract-${name}.service`, action: 'start' } as const;
});
const all = [processRules(true), runnerRules(createSystemdRunner(hooks, { clock: systemClock }))];
await Promise.all(
  all.flat().map(async ({ title, run }) => {
    const error = await run().then(() => undefined, messageOf);
    console.log(JSON.stringify({ title, error }));
  }),
);
