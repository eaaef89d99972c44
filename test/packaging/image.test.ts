import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { describe, expect, test } from 'vitest';

import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';

const IMAGE = fileURLToPath(new URL('../../packaging/image', import.meta.url));

const { missing } = ensureDebianPackages(['packer']);

describe.skipIf(missing.length > 0)('the Packer template', () => {
  // Debian's Packer has the azure-arm builder built in, and doesn't know of plugins.
  const validate = (...args: readonly string[]) =>
    promisify(execFile)('packer', ['validate', ...args, 'golden.pkr.hcl'], {
      cwd: IMAGE,
      timeout: 20_000,
      env: { PATH: process.env['PATH'], CHECKPOINT_DISABLE: '1' },
    });
  const GIVEN = ['-var', 'resource_group=group', '-var', `package=${IMAGE}/golden.pkr.hcl`];

  test('is valid', async () => {
    expect((await validate(...GIVEN)).stderr).toBe('');
  });

  test('needs the variables that it says, and would be refused for a wrong one', async () => {
    await expect(validate()).rejects.toMatchObject({ code: 1 });
    await expect(validate(...GIVEN, '-var', 'vm_sice=1')).rejects.toMatchObject({ code: 1 });
  });
});
