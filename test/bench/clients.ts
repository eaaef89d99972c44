import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { startTestImds } from '../support/mock-imds.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { SETTLE_MS, setUp, startDaemon } from './daemon.ts';
import { SIGNATURE, type Sink } from './sink.ts';

/** One program that copies a folder to the sink, from its start to its end. */
export interface Client {
  readonly name: string;
  /** `place` is a path of its own in the container. */
  upload(source: string, place: string): Promise<Run>;
}

export interface Run {
  readonly ms: number;
  /** User and system time, children included. */
  readonly cpuMs: number;
  readonly rssPeakBytes: number;
}

export interface Clients extends AsyncDisposable {
  /** A checkpoint by the running daemon, as at a notice. */
  readonly evictd: Client;
  /** `evictd checkpoint` without a daemon: with the start of Node. */
  readonly evictdOnce: Client;
  readonly rclone: Client;
  /** 8 MiB × 8, 64 files at a time, nothing hashed. */
  readonly rcloneTuned: Client;
  /** Undefined where it can't be had. */
  readonly azcopy: Client | undefined;
  readonly notes: readonly string[];
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const AZCOPY_PACKAGE = '@azure-tools/azcopy-linux@10.32.2';
const RUN_MS_MAX = 600_000;

export async function prepareClients(sink: Sink, folder: string): Promise<Clients> {
  const { missing } = ensureDebianPackages(['rclone', 'time']);
  if (missing.length > 0) throw new Error(`there is nothing to compare with: install ${missing.join(', ')}`);
  const imds = await startTestImds();
  const notes: string[] = [];
  return {
    evictd: evictd('evictd', sink, folder, imds.url),
    evictdOnce: evictd('evictd, started for it', sink, folder, imds.url),
    rclone: rclone('rclone, defaults', sink, [], ''),
    rcloneTuned: rclone(
      'rclone, tuned, unhashed',
      sink,
      ['--transfers', '64', '--checkers', '64', '--ignore-checksum'],
      ',chunk_size=8M,upload_concurrency=8,disable_checksum=true',
    ),
    azcopy: await azcopy(sink, folder, notes),
    notes,
    [Symbol.asyncDispose]: () => imds.close(),
  };
}

function evictd(
  name: 'evictd' | 'evictd, started for it',
  sink: Sink,
  folder: string,
  imdsUrl: string,
): Client {
  return {
    name,
    async upload(source, place) {
      const options = { sink, folder, imdsUrl, key: place.replaceAll('/', '-'), source };
      if (name === 'evictd') {
        await using daemon = await startDaemon(options, SETTLE_MS);
        return await daemon.checkpoint();
      }
      const { program, config, env } = await setUp(options);
      return timed(program, ['checkpoint', '--config', config], env, folder);
    },
  };
}

/** What rclone calls the sink. */
export function rcloneRemote({ url }: Sink, options = ''): string {
  const [, base = '', container = ''] = /^(.*)\/([^/]+)$/.exec(url) ?? [];
  return `:azureblob,sas_url='${base}/${container}?${SIGNATURE}'${options}:${container}`;
}

function rclone(name: string, sink: Sink, flags: readonly string[], options: string): Client {
  const remote = rcloneRemote(sink, options);
  return {
    name,
    upload: (source, place) =>
      timed(
        'rclone',
        ['copy', source, `${remote}/${place}`, '--ca-cert', sink.caFile, ...flags],
        { RCLONE_CONFIG: '/dev/null' },
        undefined,
      ),
  };
}

/** Not a dependency of the project: it is fetched into the cache, or left out. */
async function azcopy(sink: Sink, folder: string, notes: string[]): Promise<Client | undefined> {
  const cache = join(ROOT, '.cache/azcopy');
  const program = join(cache, 'node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64');
  const { missing } = ensureDebianPackages(['libsecret-1-0']);
  if (!existsSync(program)) {
    await mkdir(cache, { recursive: true });
    const args = ['install', '--prefix', cache, '--no-save', '--no-audit', '--no-fund', AZCOPY_PACKAGE];
    spawnSync('npm', args, { stdio: 'ignore', timeout: 120_000 });
  }
  if (!existsSync(program) || missing.length > 0) {
    const why = missing.length > 0 ? `${missing.join(', ')} is missing` : `npm has no ${AZCOPY_PACKAGE}`;
    notes.push(`azcopy is left out: ${why}`);
    return undefined;
  }
  await chmod(program, 0o755);
  const log = join(folder, 'azcopy');
  const env = {
    AZCOPY_LOG_LOCATION: log,
    AZCOPY_JOB_PLAN_LOCATION: log,
    AZCOPY_DISABLE_SYSLOG: 'true',
    SSL_CERT_FILE: sink.caFile,
  };
  const flags = ['--from-to', 'LocalBlob', '--recursive', '--skip-version-check', '--log-level', 'NONE'];
  return {
    name: 'azcopy, defaults',
    upload: (source, place) =>
      timed(program, ['copy', source, `${sink.url}/${place}?${SIGNATURE}`, ...flags], env, folder),
  };
}

/** Runs a program by time(1), which counts its children in. Rejects with what it said when it fails. */
export async function timed(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  folder: string | undefined,
): Promise<Run> {
  const path = process.env['PATH'] ?? '';
  const startedAt = performance.now();
  const child = spawn('time', ['-q', '-f', '%U %S %M', program, ...args], {
    env: { PATH: path, HOME: folder ?? '/tmp', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: RUN_MS_MAX,
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)));
  // An argument list, about which the types say nothing.
  const [code] = (await once(child, 'close')) as [number | null];
  const ms = performance.now() - startedAt;
  const [, user, system, rss] = /([\d.]+) ([\d.]+) (\d+)\s*$/.exec(said) ?? [];
  if (code !== 0 || rss === undefined) throw new Error(`${program} ended with ${code}: ${said}`);
  return { ms, cpuMs: (Number(user) + Number(system)) * 1000, rssPeakBytes: Number(rss) * 1024 };
}
