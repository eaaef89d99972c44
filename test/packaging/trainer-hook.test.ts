import { spawn } from 'node:child_process';
import { chmod, chown, copyFile, lchown, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, onTestFinished, test } from 'vitest';

import { DRAIN, appears, runHook, temporaryFolder } from './recipe.ts';

/** Not root, and nobody else on the machine. */
const WORKLOAD = 5001;

describe('trainer', () => {
  async function startTrainer(onSignal: string) {
    const folder = await temporaryFolder();
    const [pidfile, file] = [join(folder, 'pid'), join(folder, 'latest')];
    await writeFile(file, 'old');
    const script = `trap '${onSignal}' USR1; echo $$ > "$0.new" && mv "$0.new" "$0"; while :; do sleep 0.05; done`;
    const child = spawn('/bin/sh', ['-c', script, pidfile], { cwd: folder, stdio: 'ignore' });
    onTestFinished(() => void child.kill('SIGKILL'));
    await appears(pidfile);
    return { file, hook: (env = DRAIN) => runHook(['trainer', pidfile, file], env) };
  }

  test('is asked to save, and waited for until it has', async () => {
    const { file, hook } = await startTrainer('sleep 0.3; echo new > tmp; mv tmp latest');
    expect(await hook()).toEqual({ code: 0, stderr: '' });
    expect(await readFile(file, 'utf8')).toBe('new\n');
  });

  test.skipIf(process.getuid?.() !== 0)(
    'of another user is signalled with the rights of whoever owns the file',
    async () => {
      const folder = await temporaryFolder();
      await chmod(folder, 0o755);
      const [pidfile, file] = [join(folder, 'pid'), join(folder, 'latest')];
      const isSaved = 'touch "$0.saved"';
      const start = async (uid: number, place: string) => {
        const script = `trap '${isSaved}' USR1; echo $$ > "$0"; while :; do sleep 0.05; done`;
        const child = spawn('/bin/sh', ['-c', script, place], { uid, stdio: 'ignore' });
        onTestFinished(() => void child.kill('SIGKILL'));
        await appears(place);
      };
      const own = join(folder, 'own');
      await mkdir(own);
      await chown(own, WORKLOAD, WORKLOAD);
      await start(0, pidfile);
      await start(WORKLOAD, join(own, 'pid'));
      const hook = (name: string) =>
        runHook(['trainer', name, file], { ...DRAIN, EVICTD_TIMEOUT_SECONDS: '1' });
      expect(await hook(join(own, 'pid'))).toMatchObject({
        stderr: expect.stringContaining('not written in time'),
      });
      await appears(join(own, 'pid.saved'), 0);
      // Root's process, named by the workload: in a file of its own, and by a link to root's.
      await copyFile(pidfile, join(own, 'roots'));
      await chown(join(own, 'roots'), WORKLOAD, WORKLOAD);
      await symlink(pidfile, join(own, 'link'));
      await lchown(join(own, 'link'), WORKLOAD, WORKLOAD);
      for (const name of ['roots', 'link']) {
        expect(await hook(join(own, name))).toMatchObject({
          code: 1,
          stderr: expect.stringContaining(`can not be signalled by user ${WORKLOAD}`),
        });
      }
      await expect(stat(`${pidfile}.saved`)).rejects.toMatchObject({ code: 'ENOENT' });
    },
  );

  test.each(['-1', '0', '', '1 2', '12x'])('is not looked for by %j', async (text) => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'pid'), text);
    expect(await runHook(['trainer', join(folder, 'pid'), join(folder, 'latest')], DRAIN)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('holds no process id'),
    });
  });

  test('that ends without having saved is a failure', async () => {
    const { hook } = await startTrainer('exit');
    expect(await hook()).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('has ended without writing'),
    });
  });

  test('that does not save in time is a failure, before the hook is killed', async () => {
    const { hook } = await startTrainer(':');
    const { code, stderr } = await hook({ ...DRAIN, EVICTD_TIMEOUT_SECONDS: '1' });
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('not written in time'),
    });
  });
});
