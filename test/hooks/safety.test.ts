import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { lookUpAccount } from '../../src/hooks/account.ts';
import { DEFAULT_OUTPUT_LIMITS } from '../../src/hooks/output.ts';
import { runProcess } from '../../src/hooks/process.ts';
import { failure, hookFolder, isRoot, rig } from './harness.ts';

const NOBODY_UID = 65534;

test.for([
  ['0644', /is not executable \(mode 0644, owner uid \d+\): chmod 755/],
  ['0777', /can be written by others than its owner \(mode 0777, owner uid \d+\): chmod go-w/],
  ['0775', /mode 0775/],
] as const)('a hook of mode %s is refused, with the remedy', async ([mode, detail]) => {
  const folder = await hookFolder('exit-with');
  const file = join(folder, 'exit-with');
  await chmod(file, parseInt(mode, 8));
  const result = failure(await rig([{ name: 'hook', run: [file, '0'] }]).run('hook'));
  expect(result.reason).toBe('refused');
  expect(result.detail).toMatch(detail);
  expect(result.detail).toContain(file);
});

test('a link is judged by the file that it leads to', async () => {
  const folder = await hookFolder('exit-with');
  const link = join(folder, 'link');
  await symlink(join(folder, 'exit-with'), link);
  const hooks = rig([{ name: 'hook', run: [link, '0'] }]);
  expect(await hooks.run('hook')).toMatchObject({ kind: 'succeeded' });
  await chmod(join(folder, 'exit-with'), 0o757);
  expect(failure(await hooks.run('hook')).detail).toContain(`${link} (${join(folder, 'exit-with')})`);
});

test.skipIf(!isRoot)(
  'an interpreter that others can change is refused, also that of an interpreter',
  async () => {
    const folder = await hookFolder('exit-with');
    const [hook, first, second] = ['hook', 'first', 'second'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    await writeFile(second, '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    await writeFile(first, `#!${second}\n`, { mode: 0o755 });
    await writeFile(hook, `#!${first}\n`, { mode: 0o755 });
    const hooks = rig([{ name: 'hook', run: [hook] }]);
    expect(await hooks.run('hook')).toMatchObject({ kind: 'succeeded' });
    for (const interpreter of [first, second]) {
      await chown(interpreter, NOBODY_UID, 0);
      expect(failure(await hooks.run('hook'))).toMatchObject({
        reason: 'refused',
        detail: expect.stringMatching(
          new RegExp(`^${hook} names the interpreter .*${interpreter} belongs to .*: chown root `),
        ),
      });
      await chown(interpreter, 0, 0);
    }
  },
);

test('a hook in a folder where everybody can replace it is refused', async () => {
  const folder = await hookFolder('exit-with');
  const hooks = rig([{ name: 'hook', run: [join(folder, 'exit-with'), '0'] }]);
  await chmod(folder, 0o777);
  expect(failure(await hooks.run('hook'))).toMatchObject({
    reason: 'refused',
    detail: expect.stringContaining(`chmod go-w ${folder}`),
  });
  await chmod(folder, 0o1777);
  expect(await hooks.run('hook')).toMatchObject({ kind: 'succeeded' });
});

test('what can not be started says why', async () => {
  const folder = await hookFolder('missing-interpreter', 'no-interpreter', 'exit-with');
  await mkdir(join(folder, 'a-folder'));
  await writeFile(join(folder, 'windows'), '#!/bin/sh\r\nexit 0\r\n', { mode: 0o755 });
  await writeFile(join(folder, 'other-machine'), Buffer.from('\x7fELF\x00\x00\x00\x00', 'latin1'), {
    mode: 0o755,
  });
  const cases: [program: string, reason: string, detail: RegExp][] = [
    [join(folder, 'nothing'), 'spawn', /nothing does not exist/],
    [join(folder, 'exit-with', 'below'), 'spawn', /does not exist/],
    ['no-such-program-of-evictd', 'spawn', /no program no-such-program-of-evictd in /],
    ['./exit-with', 'refused', /neither an absolute path nor a name/],
    [join(folder, 'a-folder'), 'refused', /is not a regular file \(mode/],
    [join(folder, 'missing-interpreter'), 'spawn', /interpreter "\/no\/such\/interpreter"/],
    [join(folder, 'no-interpreter'), 'spawn', /#! line such as #!\/bin\/sh/],
    [join(folder, 'windows'), 'spawn', /Windows line ends/],
  ];
  for (const [program, reason, detail] of cases) {
    const hooks = rig([{ name: 'hook', run: [program] }]);
    const result = failure(await hooks.run('hook'));
    expect(result.detail).toMatch(detail);
    expect(result.reason).toBe(reason);
    expect(hooks.lines).toEqual([]);
  }
  const broken = failure(await rig([{ name: 'hook', run: [join(folder, 'other-machine')] }]).run('hook'));
  expect(broken.detail).toContain('other-machine');
  const long = rig([{ name: 'hook', run: [join(folder, 'exit-with'), 'x'.repeat(256 * 1024)] }]);
  expect(failure(await long.run('hook'))).toMatchObject({
    reason: 'spawn',
    detail: expect.stringContaining('E2BIG'),
  });
});

test.skipIf(!isRoot)('a file of a third user is refused, of the hook\u2019s own user not', async () => {
  const folder = await hookFolder('exit-with');
  const file = join(folder, 'exit-with');
  await chown(file, NOBODY_UID, 0);
  const asRoot = rig([{ name: 'hook', run: [file, '0'] }]);
  expect(failure(await asRoot.run('hook'))).toMatchObject({
    reason: 'refused',
    detail: expect.stringMatching(/owner uid 65534\): chown root /),
  });
  const asNobody = rig([{ name: 'hook', run: [file, '0'], user: 'nobody' }]);
  expect(await asNobody.run('hook')).toMatchObject({ kind: 'succeeded' });
});

test.skipIf(!isRoot)(
  'a hook of another user has that user\u2019s ids and home, nothing of root\u2019s',
  async () => {
    const folder = await hookFolder('describe-itself');
    const environment = { ...process.env, HOME: '/root', USER: 'root', TMPDIR: '/root/tmp' };
    for (const user of ['nobody', String(NOBODY_UID)]) {
      const hooks = rig([{ name: 'show', run: [join(folder, 'describe-itself'), 'x'], user }], environment);
      expect(await hooks.run('show')).toMatchObject({ kind: 'succeeded' });
      const given = hooks.texts('stdout');
      expect(given.find((line) => line.startsWith('ids='))).toMatch(/^ids=65534 (\d+) \1$/);
      expect(given).toEqual(
        expect.arrayContaining(['USER=nobody', 'LOGNAME=nobody', 'arguments=x', 'cwd=/']),
      );
      expect(given.filter((line) => line.startsWith('HOME=/root') || line.startsWith('TMPDIR='))).toEqual([]);
    }
  },
);

test.skipIf(!isRoot)('a hook that its user may not reach says so', async () => {
  const folder = await hookFolder('exit-with');
  await chmod(folder, 0o700);
  const file = join(folder, 'exit-with');
  const hooks = rig([{ name: 'hook', run: [file, '0'], user: 'nobody' }]);
  expect(await hooks.run('hook')).toMatchObject({ kind: 'failed' });
  expect(hooks.texts().join()).toContain('Permission denied');

  // And on a machine without setpriv.
  const spec = { file, command: file, argv0: file, arguments: ['0'], environment: {}, input: '' };
  const endsAt = systemClock.monotonicMs() + 5000;
  const limits = { termAt: endsAt, killAt: endsAt, graceMs: 0, output: DEFAULT_OUTPUT_LIMITS };
  const dependencies = { clock: systemClock, onOutput: () => undefined };
  const { signal } = new AbortController();
  const ids = { uid: NOBODY_UID, gid: NOBODY_UID };
  await expect(runProcess({ ...spec, ...ids }, limits, dependencies, signal)).rejects.toMatchObject({
    code: 'hook-start',
    remedy: expect.stringContaining('closed to the user'),
  });
  await chmod(folder, 0o755);
  expect(await runProcess({ ...spec, ...ids }, limits, dependencies, signal)).toMatchObject({ code: 0 });
});

test('a hook of an unknown user is refused', async () => {
  const folder = await hookFolder('exit-with');
  for (const user of ['no-such-user-of-evictd', '--help', '4294967290', '']) {
    const hooks = rig([{ name: 'hook', run: [join(folder, 'exit-with'), '0'], user }]);
    expect(failure(await hooks.run('hook'))).toMatchObject({
      reason: 'refused',
      detail: expect.stringContaining('there is no user'),
    });
  }
});

test.skipIf(!isRoot)('without root a hook of another user is refused, of the own user not', async () => {
  const { signal } = new AbortController();
  process.seteuid?.(NOBODY_UID);
  try {
    await expect(lookUpAccount('root', signal)).rejects.toMatchObject({ code: 'hook-refused' });
    await expect(lookUpAccount('nobody', signal)).resolves.toMatchObject({ switching: false });
  } finally {
    process.seteuid?.(0);
  }
});
