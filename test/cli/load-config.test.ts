import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, onTestFinished, test } from 'vitest';

import { loadConfigFor } from '../../src/cli/load-config.ts';

test('--config and --imds may be variables; a flag counts more, and both count more than the file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-flags-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const [one, other] = [join(folder, 'one.yaml'), join(folder, 'other.yaml')];
  await writeFile(one, 'vm: { name: one }\nimds: { endpoint: "http://127.0.0.1:1" }\n', { mode: 0o600 });
  await writeFile(other, 'vm: { name: other }\n', { mode: 0o600 });
  const load = async (options: Readonly<Record<string, string>>, env: Readonly<Record<string, string>>) => {
    const { config, origins } = await loadConfigFor({ options, env });
    return [config.vm.name, config.imds.endpoint, origins.get('imds.endpoint')?.replace(/.*\//, '')];
  };
  const env = { EVICTD_CONFIG: one };
  expect(await load({}, env)).toEqual(['one', 'http://127.0.0.1:1', 'one.yaml:2:19']);
  expect(await load({ config: other }, env)).toEqual(['other', 'http://169.254.169.254', undefined]);
  const both = { ...env, EVICTD_IMDS: 'http://127.0.0.1:2' };
  expect(await load({}, both)).toEqual(['one', 'http://127.0.0.1:2', 'environment EVICTD_IMDS']);
  expect(await load({ imds: 'http://127.0.0.1:3' }, both)).toEqual(['one', 'http://127.0.0.1:3', '--imds']);
});
