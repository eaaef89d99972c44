import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { EXIT, type Output } from '../../src/cli/command.ts';
import { mockImdsCommand } from '../../src/cli/mock-imds.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-mock-imds-'));
});
afterAll(() => rm(folder, { recursive: true }));

interface Capture extends Output {
  text(): string;
  /** Resolves with the text as soon as it matches; rejects after 10 s. */
  matching(pattern: RegExp): Promise<string>;
}

function capture(): Capture {
  let all = '';
  const checks = new Set<() => void>();
  const write = (text: string) => {
    all += text;
    for (const check of checks) check();
  };
  return {
    isTerminal: false,
    write,
    draw: write,
    text: () => all,
    matching: (pattern) =>
      new Promise((resolve, reject) => {
        AbortSignal.timeout(10_000).addEventListener('abort', () =>
          reject(new Error(`never printed: ${all}`)),
        );
        const check = () => {
          if (pattern.test(all)) resolve(all);
        };
        checks.add(check);
        check();
      }),
  };
}

function start(options: Record<string, string | boolean>) {
  const controller = new AbortController();
  const out = capture();
  const err = capture();
  const invocation = { options: { listen: '127.0.0.1:0', ...options }, positionals: [], env: {} };
  const exit = mockImdsCommand.run({ ...invocation, out, err, signal: controller.signal });
  return { out, err, exit, stop: () => controller.abort() };
}

test('says how to use it, then a line for each thing that happens, until it is interrupted', async () => {
  const command = start({ 'vm-name': 'fleet_7' });
  const banner = await command.out.matching(/mock\/events\n/);
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(banner)?.[0] ?? '';
  expect(banner).toContain(`evictd run --imds ${url}`);
  await fetch(`${url}/mock/events`, { method: 'POST', body: '{"id":"E1"}' });
  await fetch(`${url}/metadata/scheduledevents?api-version=2020-07-01`);
  await command.out.matching(/Preempt E1 added \(incarnation 2; fleet_7\)/);
  await command.out.matching(/GET \/metadata\/scheduledevents\?api-version=2020-07-01 → 400/);
  command.stop();
  expect(await command.exit).toBe(EXIT.done);
});

test('prints JSON lines', async () => {
  const command = start({ json: true });
  const first: unknown = JSON.parse(await command.out.matching(/\n/));
  expect(first).toMatchObject({ kind: 'listening', vmName: 'fleet_0' });
  // Just checked to be an object; its url is a text.
  const { url } = first as { url: string };
  await fetch(`${url}/mock/faults`, { method: 'POST', body: '{"kind":"hang"}' });
  const [, second = ''] = (await command.out.matching(/\n.+\n/)).split('\n');
  expect(JSON.parse(second)).toMatchObject({ kind: 'fault', fault: { kind: 'hang', on: 'events' } });
  command.stop();
  expect(await command.exit).toBe(EXIT.done);
});

test('a bad scenario is a usage error that names the line', async () => {
  const scenario = join(folder, 'bad.yaml');
  await writeFile(scenario, 'vm:\n  nam: x\n');
  const command = start({ scenario });
  expect(await command.exit).toBe(EXIT.usage);
  expect(command.err.text()).toContain(`${scenario}:2: vm.nam = "x": unknown key; allowed: name`);
  expect(command.out.text()).toBe('');
});

test.each(['1338', 'localhost', '127.0.0.1:99999', '[localhost]:80', ''])(
  '%j is no address',
  async (listen) => {
    await expect(start({ listen }).exit).rejects.toMatchObject({ code: 'usage' });
  },
);

test('an address that is taken is a failure with its reason', async () => {
  const first = start({ json: true });
  // The shape was checked above.
  const { url } = JSON.parse(await first.out.matching(/\n/)) as { url: string };
  await expect(start({ listen: url.replace('http://', '') }).exit).rejects.toMatchObject({
    code: 'cannot-listen',
    message: expect.stringContaining('EADDRINUSE') as unknown,
  });
  first.stop();
  await first.exit;
});
