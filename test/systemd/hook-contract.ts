// Inside a machine with a real systemd: the contract of the runners there; prints a line of JSON for each rule.
import { systemClock } from '../../src/base/clock.ts';
import { createSystemdRunner } from '../../src/hooks/systemd-runner.ts';
import { processRules } from '../hooks/process-contract.ts';
import { runnerRules } from '../hooks/runner-contract.ts';
import { printRule } from '../support/rule-lines.ts';

const hooks = ['succeeds', 'fails', 'hangs'].map((name) => {
  return { name, unit: `contract-${name}.service`, action: 'start' } as const;
});
const all = [processRules(true), runnerRules(createSystemdRunner(hooks, { clock: systemClock }))];
await Promise.all(all.flat().map(printRule));
