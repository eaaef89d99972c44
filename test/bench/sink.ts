import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { z } from 'zod';

import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';
import { createSelfSigned } from '../support/tls.ts';

const SOURCES = fileURLToPath(new URL('sink/', import.meta.url));
const CONTAINER = 'bench/container';
/** The sink looks at no signature; clients want one that looks like one. */
export const SIGNATURE = 'sv=2021-08-06&se=2099-01-01T00:00:00Z&sr=c&sp=racwdl&sig=bench';

const Ports = z.object({ http: z.number(), https: z.number() });
const Stats = z.object({
  requests: z.number(),
  writes: z.number(),
  bytesIn: z.number(),
  cpuMs: z.number(),
  /** When the newest entry of a set was answered as stored, epoch ms; 0: none was. */
  manifestMs: z.number(),
});
export type SinkStats = z.infer<typeof Stats>;

/** A server that takes blobs faster than any client can send them, in a process of its own. */
export interface Sink extends AsyncDisposable {
  /** Of its container, over TLS. */
  readonly url: string;
  readonly caFile: string;
  /** Holds a shared access signature. */
  readonly signatureFile: string;
  stats(): Promise<SinkStats>;
  /** Every answer comes so much later. */
  latency(ms: number): Promise<void>;
  /** All that comes has to pass a link of so many Mbit/s; 0: none. */
  link(megabits: number): Promise<void>;
  /** Forgets all blobs: nobody has to look for his among those of all runs before. */
  clear(): Promise<void>;
}

export interface SinkOptions {
  /** Of blobs whose names have this in them the content can be read again; of others something is, of the same length. */
  readonly keep?: string;
}

/** Compiles it into `folder` and starts it. */
export async function startSink(folder: string, { keep }: SinkOptions = {}): Promise<Sink> {
  const [program, caFile, keyFile, signatureFile] = ['sink', 'ca.pem', 'key.pem', 'signature'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string]; // As many as there are names.
  await compile(program);
  const { cert, key } = createSelfSigned();
  await writeFile(caFile, cert);
  await writeFile(keyFile, key, { mode: 0o600 });
  await writeFile(signatureFile, SIGNATURE, { mode: 0o600 });
  // It ends with its standard input, so that it never outlives the benchmark.
  const child = spawn(program, [caFile, keyFile, ...(keep === undefined ? [] : [keep])], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // An argument list, about which the types say nothing.
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const { http, https } = Ports.parse(JSON.parse(line.toString()));
  const ask = async (what: string) => (await fetch(`http://127.0.0.1:${http}/sink/${what}`)).json();
  return {
    url: `https://127.0.0.1:${https}/${CONTAINER}`,
    caFile,
    signatureFile,
    stats: async () => Stats.parse(await ask('stats')),
    latency: async (ms) => void (await ask(`stats?us=${Math.round(ms * 1000)}`)),
    link: async (megabits) => void (await ask(`stats?megabits=${megabits}`)),
    clear: async () => void (await ask('clear')),
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit');
      child.stdin.end();
      await exited;
    },
  };
}

async function compile(program: string): Promise<void> {
  const { missing } = ensureDebianPackages(['gcc', 'libc6-dev', 'libssl-dev']);
  if (missing.length > 0) throw new Error(`the sink can't be compiled without ${missing.join(', ')}`);
  const sources = (await readdir(SOURCES)).filter((name) => name.endsWith('.c'));
  const args = ['-O2', '-o', program, ...sources, '-lssl', '-lcrypto', '-lpthread'];
  const { status, stderr } = spawnSync('gcc', args, { cwd: SOURCES, encoding: 'utf8', timeout: 60_000 });
  if (status !== 0) throw new Error(`gcc: ${stderr}`);
}
