import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { type Azurite, startAzurite } from '../support/azurite.ts';
import { PROCESS_TEST_MS, startEvictd } from '../support/evictd-process.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { runBundle } from './support.ts';

let azurite: Azurite;
let folder: string;
let env: Record<string, string>;

beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => {
  await azurite?.stop();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evictd-stored-'));
  const config = {
    vm: { name: 'vm-1' },
    checkpoint: {
      store: { url: `${azurite.containerUrl()}/some/prefix`, auth: { kind: 'azurite' } },
      sets: [{ name: 'job', path: join(folder, 'work') }],
    },
    state: { dir: join(folder, 'state') },
    control: { socket: join(folder, 'evictd.sock') },
    imds: { endpoint: 'http://127.0.0.1:9' },
  };
  await writeFile(join(folder, 'config.yaml'), JSON.stringify(config), { mode: 0o600 });
  env = {};
  return () => rm(folder, { recursive: true, force: true });
});

function evictd(...args: readonly string[]) {
  return runBundle([...args, '--config', join(folder, 'config.yaml')], { env });
}

describe('with an empty store', () => {
  test('checkpoints and restore end with 3 and say where they looked', async () => {
    // The first command makes the emulator's container.
    const listed = await evictd('checkpoints');
    expect(listed).toMatchObject({ code: 3, stdout: '' });
    expect(listed.stderr).toContain('vm-1');
    const restored = await evictd('restore', '--to', join(folder, 'to'));
    expect(restored).toMatchObject({ code: 3, stdout: '' });
    expect(restored.stderr).toContain('some/prefix/vm-1/sets/job');
  });

  test('JSON says that there is nothing', async () => {
    const { code, stdout } = await evictd('checkpoints', '--json');
    expect(code).toBe(3);
    expect(JSON.parse(stdout)).toEqual({ key: 'vm-1', checkpoints: [] });
  });
});

describe('restore', () => {
  test('brings back what checkpoint saved, and checkpoints lists it', async () => {
    await mkdir(join(folder, 'work'));
    await writeFile(join(folder, 'work/a'), 'one');
    await using imds = await startTestImds({ vm: { name: 'vm-1' } });
    const saved = await evictd('checkpoint', '--imds', imds.url);
    expect(saved).toMatchObject({ code: 0, stderr: '' });
    const listed = await evictd('checkpoints', '--json');
    expect(JSON.parse(listed.stdout)).toMatchObject({
      key: 'vm-1',
      checkpoints: [{ kind: 'usable', set: 'job', files: 1, bytes: 3 }],
    });
    const restored = await evictd('restore', '--to', join(folder, 'to'));
    expect(restored).toMatchObject({ code: 0, stderr: '' });
    expect(restored.stdout).toMatch(/^restored job \d+ of .*: 1 file, 3 B/);
    expect(await readFile(join(folder, 'to/a'), 'utf8')).toBe('one');
  });

  test.each([
    ['--key', '../vm-2', '"../vm-2" is not a key'],
    ['--at', '7', 'there is no checkpoint "00000007"'],
    ['--at', 'seven', 'there is no checkpoint "seven"'],
  ])('%s %s is refused by name', async (option, value, text) => {
    await evictd('checkpoints');
    const { code, stderr } = await evictd('restore', '--to', join(folder, 'to'), option, value);
    expect([2, 3]).toContain(code);
    expect(stderr).toContain(text);
  });

  test('wants to know which set when there are several', async () => {
    await mkdir(join(folder, 'conf.d'), { mode: 0o755 });
    const more = 'checkpoint: { sets: [{ name: other, path: /other }] }';
    await writeFile(join(folder, 'conf.d/more.yaml'), more, { mode: 0o600 });
    const { code, stderr } = await evictd('restore', '--to', join(folder, 'to'));
    expect(code).toBe(2);
    expect(stderr).toContain('--set NAME (job, other)');
  });

  test('without a checkpoint section says what to set', async () => {
    await writeFile(join(folder, 'config.yaml'), '{}');
    const { code, stderr } = await evictd('restore', '--to', join(folder, 'to'));
    expect(code).toBe(2);
    expect(stderr).toContain('checkpoint.store.url');
  });
});

describe('checkpoint', () => {
  test(
    'of a set that there is not, or under a key that this VM can not have, is a wrong use',
    { timeout: PROCESS_TEST_MS },
    async () => {
      await mkdir(join(folder, 'work'));
      const unknown = await evictd('checkpoint', '--set', 'nope');
      expect(unknown).toMatchObject({ code: 2, stdout: '' });
      expect(unknown.stderr).toContain('there is no set "nope"');
      await using imds = await startTestImds({ vm: { name: 'vm-1', tags: {} } });
      env = { EVICTD_CHECKPOINT_KEY: '{tag:job}' };
      for (const command of [['checkpoint'], ['checkpoints'], ['restore', '--to', join(folder, 'to')]]) {
        const { code, stderr } = await evictd(...command, '--imds', imds.url);
        expect({ command, code }).toEqual({ command, code: 2 });
        expect(stderr).toContain('this VM has no tag:job');
      }
      // Through a daemon too, which only tells what came of it.
      await using daemon = startEvictd(['run', '--config', join(folder, 'config.yaml'), '--imds', imds.url], {
        env,
      });
      await daemon.line('evictd started');
      const asked = await evictd('checkpoint', '--imds', imds.url);
      expect(asked.code).toBe(2);
      expect(asked.stderr).toContain('this VM has no tag:job');
    },
  );
});

describe('the key', () => {
  test('is asked of the metadata service when the config does not say it', async () => {
    await using imds = await startTestImds({ vm: { name: 'fleet_7' } });
    env = { EVICTD_VM_NAME: 'auto', EVICTD_IMDS_ENDPOINT: imds.url };
    const { stdout } = await evictd('checkpoints', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ key: 'fleet_7' });
  });

  test('that --key names needs no metadata service', async () => {
    env = { EVICTD_VM_NAME: 'auto' };
    const { stdout } = await evictd('checkpoints', '--json', '--key', 'team/vm-3');
    expect(JSON.parse(stdout)).toMatchObject({ key: 'team/vm-3' });
  });
});
