import { describe, expect, test } from 'vitest';

import { unitArguments } from '../../src/hooks/unit-process.ts';
import { hookUnit } from '../../src/hooks/unit-state.ts';

const TASK = { unit: 'evictd-hook-a-0.service', description: 'a hook', user: undefined };
const TIMES = { timeoutMs: 7000.4, graceMs: 1000 };

function argumentsOf(changes: { user?: string; arguments?: string[]; input?: string }): readonly string[] {
  const { user, input = '', ...rest } = changes;
  const spec = { file: '/bin/a', arguments: [], environment: { A: 'b c=$d' }, input, ...rest };
  return unitArguments({ ...TASK, user }, spec, TIMES);
}

describe('the command line of a unit', () => {
  test('keeps the result, has times of its own, and lives through a shutdown', () => {
    expect(argumentsOf({})).toEqual(
      expect.arrayContaining([
        '--unit=evictd-hook-a-0.service',
        '--property=RemainAfterExit=yes',
        '--property=DefaultDependencies=no',
        '--property=TimeoutStartSec=7000ms',
        '--property=TimeoutStopSec=1000ms',
        '--setenv=A=b c=$d',
      ]),
    );
    expect(argumentsOf({ user: 'worker' })).toContain('--property=User=worker');
  });

  test('has the arguments last, with nothing in them for systemd to expand', () => {
    const args = argumentsOf({ arguments: ['--user=x', '$HOME', '${A}', '$$', ''] });
    expect(args.slice(args.indexOf('--'))).toEqual([
      '--',
      '/bin/a',
      '--user=x',
      '$$HOME',
      '$${A}',
      '$$$$',
      '',
    ]);
  });

  test('has an event of any size, in parts that the kernel takes', () => {
    const input = 'ä'.repeat(300_000);
    const parts = argumentsOf({ input })
      .filter((argument) => argument.startsWith('--property=StandardInputData='))
      .map((argument) => argument.slice('--property=StandardInputData='.length));
    expect(Math.max(...parts.map((part) => part.length))).toBeLessThan(128 * 1024);
    expect(Buffer.concat(parts.map((part) => Buffer.from(part, 'base64'))).toString()).toBe(input);
  });
});

describe('the name of a unit', () => {
  test('is the same for the same hook in the same drain only', () => {
    const name = hookUnit('hooks.d/10-stop', 'A@1');
    expect(name).toMatch(/^evictd-hook-hooks\.d-10-stop-[0-9a-f]{12}\.service$/);
    expect(hookUnit('hooks.d/10-stop', 'A@1')).toBe(name);
    const others = [hookUnit('hooks.d-10-stop', 'A@1'), hookUnit('hooks.d/10-stop', 'A@2')];
    expect(new Set([name, ...others]).size).toBe(3);
  });

  test('fits, however long the name of the file is', () => {
    expect(hookUnit(`hooks.d/${'a'.repeat(255)}`, 'A@1').length).toBeLessThan(200);
  });
});
