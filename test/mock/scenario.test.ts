import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { loadScenario, parseScenario } from '../../src/mock/scenario.ts';
import { startMockImds } from '../../src/mock/server.ts';
import { systemClock } from '../../src/base/clock.ts';
import { deadline } from './support.ts';

test('plays its timeline', async () => {
  const scenario = parseScenario(
    `
vm: { name: fleet_2 }
service: { rateLimit: 0 }
timeline:
  - { at: 0s, event: { id: E1, type: Preempt, notBefore: 30s, resources: [self, other_1] } }
  - { at: 50ms, fault: { kind: status, status: 500, for: 10s } }
  - { at: 100ms, withdraw: E1 }
  - { at: 150ms, clock: -1h }
  - { at: 200ms, incarnation: 1 }
  - { at: 250ms, withdraw: E1 }
`,
    'test.yaml',
  );
  const mock = await startMockImds({ host: '127.0.0.1', port: 0, scenario }, { clock: systemClock });
  const seen: string[] = [];
  using _subscription = mock.subscribe((activity) => {
    seen.push(activity.kind === 'event' ? `${activity.event.id} ${activity.change}` : activity.kind);
  });
  await mock.waitFor(() => seen.includes('problem'), deadline());
  await mock.close();
  expect(seen).toEqual(['E1 added', 'fault', 'E1 withdrawn', 'clock', 'problem']);
  expect(mock.vmName).toBe('fleet_2');
  expect(mock.state()).toMatchObject({ incarnation: 1, events: [], clockShiftMs: -3_600_000 });
});

test('an empty file is one quiet Spot VM', () => {
  expect(parseScenario('', 'empty.yaml')).toMatchObject({
    vm: { name: 'fleet_0', priority: 'Spot' },
    service: { rateLimit: 5, startAfterAck: 1000, startedFor: 10_000, firstAnswerDelay: 0 },
    timeline: [],
  });
});

test.each([
  ['an unknown key', 'vm:\n  nam: x\n', ['f.yaml:2', 'vm.nam = "x"', 'allowed: name, vmId']],
  ['a value without its unit', 'timeline:\n- at: 5\n  withdraw: E\n', ['f.yaml:2', 'timeline.0.at = 5']],
  ['a wrong unit', 'timeline:\n- { at: 5 sec, withdraw: E }', ['f.yaml:2', '"5 sec"', 'ms, s, m, h, d']],
  [
    'an unknown kind of fault',
    'timeline:\n- at: 1s\n  fault:\n    kind: explode\n',
    ['f.yaml:4', 'timeline.0.fault.kind = "explode"', 'allowed kinds: hang, slow'],
  ],
  [
    'a key of another kind of fault',
    'timeline:\n- { at: 1s, fault: { kind: hang, status: 500 } }',
    ['f.yaml:2', 'timeline.0.fault.status = 500', 'allowed: kind, on, count, for'],
  ],
  [
    'a status of its own',
    'timeline:\n- at: 1s\n  event: { status: Completed }\n',
    ['f.yaml:3', 'timeline.0.event.status = "Completed"', 'allowed: Scheduled, Started'],
  ],
  [
    'a step of two things',
    'timeline:\n\n- { at: 1s, withdraw: E, incarnation: 1 }',
    ['f.yaml:3', 'exactly one of'],
  ],
  ['a list', '- 1\n', ['f.yaml:1', 'document = [1]']],
  ['broken YAML', 'vm: { name: "x\n', ['f.yaml:']],
  ['a key twice', 'vm: {}\nvm: {}\n', ['f.yaml:2', 'unique']],
])('%s is named with file, line, key, value and what is allowed', (_name, text, parts) => {
  let message = '';
  try {
    parseScenario(text, 'f.yaml');
  } catch (error) {
    expect(error).toMatchObject({ name: 'EvictdError', code: 'bad-scenario' });
    message = error instanceof Error ? error.message : '';
  }
  for (const part of parts) expect(message).toContain(part);
});

test('a file is read, and a missing one is an error that names it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-scenario-'));
  try {
    const file = join(folder, 'scenario.yaml');
    await writeFile(file, 'vm: { name: fleet_3 }\n');
    expect((await loadScenario(file)).vm.name).toBe('fleet_3');
    await expect(loadScenario(join(folder, 'none.yaml'))).rejects.toMatchObject({
      code: 'bad-scenario',
      message: expect.stringContaining('none.yaml') as unknown,
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});
