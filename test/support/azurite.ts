import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import {
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';

import { createSelfSigned } from './tls.ts';

export const AZURITE_ACCOUNT = 'devstoreaccount1';
/** The emulator's published key. */
export const AZURITE_KEY =
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

export interface AzuriteOptions {
  /** HTTPS with a self-signed certificate, and OAuth tokens accepted. */
  readonly oauth?: boolean;
  /** Blobs on disk, so that they outlive `kill`; otherwise in memory, which is quicker. */
  readonly persistent?: boolean;
  /** Where its files are then; default: the place for temporary files. */
  readonly within?: string;
  /** Default `blob`. */
  readonly service?: Service;
}

type Service = 'blob' | 'queue';

/** One of Azurite's services in a process of its own. */
export interface Azurite extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`; the same after a restart. */
  readonly origin: string;
  /** The certificate to trust, for HTTPS. */
  readonly ca: string | undefined;
  /** URL of a container (or queue) in path style; a new name each time when none is given. It is not created. */
  containerUrl(name?: string): string;
  /** Kills the process at once; with `persistent` it forgets what it acknowledged in the last seconds. */
  kill(): Promise<void>;
  /** Ends the process; with `persistent` nothing that it has acknowledged is lost. */
  shutDown(): Promise<void>;
  /** Starts it again on the same port after `kill` or `shutDown`. */
  restart(): Promise<void>;
  /** Ends the process and removes its files. */
  stop(): Promise<void>;
}

// Azurite 3.37 loads for 1 to 3 s on a small machine.
const START_MS_MAX = 30_000;

/** A shared access signature of the emulator for one hour. `permissions`: the letters of the service. */
export function signatureFor(containerName: string, permissions: string): string {
  const key = new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY);
  const expiresOn = new Date(Date.now() + 3_600_000);
  const allowed = { containerName, permissions: ContainerSASPermissions.parse(permissions), expiresOn };
  return generateBlobSASQueryParameters(allowed, key).toString();
}

/** Starts Azurite on a free port of 127.0.0.1 and waits until it listens. */
export async function startAzurite(options: AzuriteOptions = {}): Promise<Azurite> {
  const folder = await mkdtemp(join(options.within ?? tmpdir(), 'evictd-azurite-'));
  const args = ['--silent', '--skipApiVersionCheck', '--disableTelemetry'];
  args.push(...(options.persistent === true ? ['--location', folder] : ['--inMemoryPersistence']));
  let ca: string | undefined;
  if (options.oauth === true) {
    const { cert, key } = createSelfSigned();
    ca = cert;
    await writeFile(join(folder, 'cert.pem'), cert);
    await writeFile(join(folder, 'key.pem'), key);
    args.push('--oauth', 'basic', '--cert', join(folder, 'cert.pem'), '--key', join(folder, 'key.pem'));
  }
  const { service = 'blob' } = options;
  let running = await launch(service, args, 0);
  const { origin } = running;
  let containers = 0;
  const kill = async () => {
    running.end();
    await running.ended;
  };
  const stop = async () => {
    await kill();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  return {
    origin,
    ca,
    containerUrl: (name = `container-${++containers}`) => `${origin}/${AZURITE_ACCOUNT}/${name}`,
    kill,
    async shutDown() {
      running.end('SIGTERM');
      await running.ended;
    },
    async restart() {
      running = await launch(service, args, Number(new URL(origin).port));
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface Running {
  readonly origin: string;
  readonly ended: Promise<unknown>;
  end(signal?: NodeJS.Signals): void;
}

async function launch(service: Service, args: readonly string[], port: number): Promise<Running> {
  const script = createRequire(import.meta.url).resolve(`azurite/dist/src/${service}/main.js`);
  const child = spawn(process.execPath, [script, `--${service}Port`, String(port), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], NODE_ENV: 'production' },
  });
  // The test process may end without its hooks having run.
  const end = (signal: NodeJS.Signals = 'SIGKILL') => void child.kill(signal);
  const endWithUs = () => end();
  process.once('exit', endWithUs);
  const ended = once(child, 'exit').finally(() => process.removeListener('exit', endWithUs));
  try {
    return { origin: await announcedOrigin(child), ended, end };
  } catch (error) {
    end();
    throw error;
  }
}

async function announcedOrigin(child: ChildProcess): Promise<string> {
  let output = '';
  const signal = AbortSignal.timeout(START_MS_MAX);
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  if (child.stdout === null) throw new Error('Azurite has no stdout');
  const lines = createInterface({ input: child.stdout, signal });
  for await (const line of lines) {
    output += `${line}\n`;
    const origin = /listens on (https?:\/\/[\d.]+:\d+)/.exec(line)?.[1];
    if (origin !== undefined) {
      child.stdout.resume();
      return origin;
    }
  }
  throw new Error(`Azurite did not start: ${output}`);
}
